"""Networks over time for the conformance kit: every recurrent layer with every option, as data.

Small, since the oracle differentiates them by differences; masked steps are in the observations of
those whose ``values`` are ``masked``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from triptych.spec.notation import parse
from triptych.spec.randomness import generator
from triptych.spec.rules import SGD, Adam, Clip, constant
from triptych.testing.cases import NetworkCase, RuleCase

MASK = 0.25


@dataclass(frozen=True)
class MaskedCase(NetworkCase):
    """A network whose observations hold steps in which every feature is ``MASK``.

    Steps at the start, in the middle and at the end of a sequence, and one whole sequence; some
    features that equal it alone mask nothing.
    """

    def observations(self, stream: str) -> np.ndarray:
        """Return (BATCH, time, features) observations, some steps masked."""
        x = super().observations(stream)
        x[generator(2, f"{self.name}/alone").random(x.shape) < 0.2] = MASK
        x[0, 0], x[1, -1], x[2, 1], x[3] = MASK, MASK, MASK, MASK
        return x


_PLAIN = {
    "two_biases": "4x3 -> lstm 3 biases 2 sequences -> gru 2 sequences -> elman 3 biases 2 "
    "-> dense 2",
    "one_bias": "3x4 -> lstm 2 sequences -> gru 3 biases 1 candidate_bias true sequences "
    "-> elman 5 activation relu reverse -> dense 3",
    "bent_gates": "3x2 -> gru 2 activation sigmoid gate hard_sigmoid biases 1 reset_after false "
    "reverse sequences -> lstm 2 activation relu gate hard_sigmoid biases 0 sequences "
    "-> gru 2 reset_after false -> dense 2",
    "many_steps": "18x2 -> gru 2 biases 0 -> dense 2",
}
_MASKED = {
    "input": "4x2",
    "a": f"lstm 2 sequences mask {MASK}",
    "b": f"gru 2 sequences reverse mask {MASK} <- input",
    "c": f"lstm 2 biases 2 mask {MASK} <- input",
    "both": "concatenate <- a, b",
    "d": "elman 3 activation sigmoid",
    "all": "concatenate <- c, d",
    "head": "dense 2",
}
_TWICE = {
    "input": "4x2",
    "a": "lstm 2 sequences",
    "b": "shares a",
    "both": "multiply <- a, b",
    "head": "dense 2",
}
_SHARED = NetworkCase("twice", parse(_TWICE))
RECURRENT = (
    *(NetworkCase(name, parse(notation)) for name, notation in _PLAIN.items()),
    MaskedCase("masked", parse(_MASKED)),
    _SHARED,
)
"""Every recurrent layer with every option."""
STEPS = (
    NetworkCase(
        "words",
        parse(
            "4 index -> embedding 7 3 -> layer_norm -> dropout 0.3 -> lstm 2 biases 2 -> dense 2"
        ),
        "index",
    ),
    NetworkCase(
        "one_by_one",
        parse(
            "5x3 -> lstm 2 gate hard_sigmoid sequences -> batch_norm -> gru 2 reset_after false "
            "sequences -> dense 3 relu -> elman 2 sequences -> layer_norm -> dense 2"
        ),
    ),
    _SHARED,
    MaskedCase("masked_steps", parse(f"5x2 -> gru 3 mask {MASK} sequences -> lstm 2 -> dense 2")),
)
"""Networks that can be run step by step."""
_GATED = parse("3x4 -> lstm 3 biases 2 sequences -> gru 2 sequences -> elman 2 biases 2")
GATED = (
    RuleCase("gates", Adam(constant(0.01), epsilon=1e-3), _GATED),
    RuleCase("gates_clip_norm", SGD(constant(0.1), momentum=0.9, clip=Clip(norm=0.3)), _GATED),
)
"""Rules on arrays that are parts of a native one: a norm is that of a gate's array alone."""
