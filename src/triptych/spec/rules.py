"""Update rules and gradient clipping as frozen data, every formula pinned.

One update, in this order: clip the gradients, add ``l2`` times the params, apply the rule. Here
g is the gradient, p a parameter, r the rate at this update and t = 1, 2, ... the update's number.
How a framework computes it is in each backend's ``rules.py``; the judge is the NumPy one. A rule
that searches is computed on the host, in ``backends/searching.py``.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, ClassVar

from triptych.spec.fields import build_named, build_strictly, option
from triptych.spec.schedules import Constant, Schedule, parse_schedule


@dataclass(frozen=True)
class Clip:
    """Gradient clipping; at most one of the three is set.

    global_norm: g * min(1, c / norm of all gradients together). norm: the same for each parameter
    on its own. value: each entry held within [-c, c].
    """

    global_norm: float | None = option(None, above=0.0)
    norm: float | None = option(None, above=0.0)
    value: float | None = option(None, above=0.0)

    def __post_init__(self) -> None:
        if sum(limit is not None for limit in (self.global_norm, self.norm, self.value)) > 1:
            raise ValueError("only one of global_norm, norm and value may be given")


def _parse_clip(value: Any, where: str) -> Clip:
    if isinstance(value, Clip):
        return value
    return build_strictly(Clip, {} if value is None else value, where)


@dataclass(frozen=True)
class Rule:
    """Base of the update rules; ``rate`` is a schedule over updates counted from 0."""

    name: ClassVar[str] = ""
    searches: ClassVar[bool] = False
    """Whether one update asks for loss and gradient at several points of the same batch."""
    rate: Schedule = option(parse=parse_schedule)  # noqa: RUF009
    l2: float = option(0.0, low=0.0)
    clip: Clip = option(Clip(), parse=_parse_clip)  # noqa: RUF009

    @property
    def slots(self) -> tuple[str, ...]:
        """The names of the arrays kept for every parameter."""
        return ()

    @property
    def numbers(self) -> dict[str, float]:
        """What is kept once for all parameters, by name, with the values before any update."""
        return {}

    def factors(self) -> dict[str, Any]:
        """Return every constant of the rule by name, without rate and clip."""
        skip = ("rate", "clip")
        own = {f.name: getattr(self, f.name) for f in fields(self) if f.name not in skip}
        return {"rule": self.name} | own


@dataclass(frozen=True)
class SGD(Rule):
    """m = momentum * m + g; p -= r * m; with Nesterov p -= r * (g + momentum * m).

    The rate is outside the buffer, which starts at zero; there is no dampening.
    """

    name: ClassVar[str] = "sgd"
    momentum: float = option(0.0, low=0.0, below=1.0)
    nesterov: bool = False

    def __post_init__(self) -> None:
        if self.nesterov and not self.momentum:
            raise ValueError("nesterov needs a momentum above 0")

    @property
    def slots(self) -> tuple[str, ...]:
        """``momentum`` where there is one."""
        return ("momentum",) if self.momentum else ()


@dataclass(frozen=True)
class Adam(Rule):
    """Adam (Kingma and Ba 2015), with the three known places of epsilon.

    m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; mh = m / (1 - b1^t); vh = v / (1 - b2^t).
    Usual: p -= r mh / (sqrt(vh) + epsilon). ``epsilon_inside_root``: sqrt(vh + epsilon).
    ``epsilon_before_correction`` (Keras; "epsilon hat" in section 2 of the paper):
    p -= r sqrt(1 - b2^t) / (1 - b1^t) * m / (sqrt(v) + epsilon).
    """

    name: ClassVar[str] = "adam"
    beta1: float = option(0.9, low=0.0, below=1.0)
    beta2: float = option(0.999, low=0.0, below=1.0)
    epsilon: float = option(1e-8, low=0.0)
    epsilon_inside_root: bool = False
    epsilon_before_correction: bool = False

    def __post_init__(self) -> None:
        if self.epsilon_inside_root and self.epsilon_before_correction:
            raise ValueError("epsilon is either inside the root or before the correction, not both")

    @property
    def slots(self) -> tuple[str, ...]:
        """``first_moment`` (m) and ``second_moment`` (v)."""
        return ("first_moment", "second_moment")


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled decay: p -= r * weight_decay * p before the step (Loshchilov 2019)."""

    name: ClassVar[str] = "adamw"
    weight_decay: float = option(0.01, low=0.0)


@dataclass(frozen=True)
class RMSprop(Rule):
    """v = decay v + (1 - decay) g^2; step = g / (sqrt(v) + epsilon), or g / sqrt(v + epsilon).

    ``centered``: v is replaced by v - a^2 with a = decay a + (1 - decay) g. With momentum
    m = momentum m + step, p -= r m, the rate outside the buffer; otherwise p -= r step.
    """

    name: ClassVar[str] = "rmsprop"
    decay: float = option(0.9, low=0.0, below=1.0)
    epsilon: float = option(1e-7, low=0.0)
    epsilon_inside_root: bool = False
    momentum: float = option(0.0, low=0.0, below=1.0)
    centered: bool = False

    @property
    def slots(self) -> tuple[str, ...]:
        """``second_moment``, with ``first_moment`` if centred and ``momentum`` if any."""
        first = ("first_moment",) if self.centered else ()
        return ("second_moment", *first, *(("momentum",) if self.momentum else ()))


@dataclass(frozen=True)
class Adagrad(Rule):
    """s = s + g^2 from ``initial``; p -= r g / (sqrt(s) + epsilon), or g / sqrt(s + epsilon)."""

    name: ClassVar[str] = "adagrad"
    epsilon: float = option(1e-10, low=0.0)
    epsilon_inside_root: bool = False
    initial: float = option(0.0, low=0.0)

    @property
    def slots(self) -> tuple[str, ...]:
        """``accumulator`` (s)."""
        return ("accumulator",)


@dataclass(frozen=True)
class SCG(Rule):
    """Scaled conjugate gradient (Møller 1993), for one batch that never changes.

    With E the loss, w all parameters as one vector, g(w) the gradient, r = -g and p the direction:
    curvature along p, d = p'(g(w + s p) - g(w)) / s with s = ``sigma`` / |p|, after a step that was
    made; d += (damping - raised) |p|^2; where d <= 0, raised = 2 (damping - d / |p|^2),
    d = damping |p|^2 - d, damping = raised; step length a = p'r / d; comparison
    c = 2 d (E(w) - E(w + a p)) / (p'r)^2. Where c >= 0 the step is made: raised = 0, and
    p = r' + p (|r'|^2 - r''r) / p'r with r' the new r, or p = r' at every n-th update, n the number
    of parameters; c >= 3/4 divides damping by 4. Else no step: raised = damping. In both cases
    c < 1/4 adds d (1 - c) / |p|^2 to damping. MATLAB's ``trainscg`` has these defaults.

    sigma: how far away the curvature is looked at. damping: the first lambda of the paper.
    There is no rate (it is 1), no clipping, and l2 belongs into the objective, which is compared.
    """

    name: ClassVar[str] = "scg"
    searches: ClassVar[bool] = True
    rate: Schedule = option(Constant(1.0), parse=parse_schedule)  # noqa: RUF009
    sigma: float = option(5e-5, above=0.0)
    damping: float = option(5e-7, above=0.0)

    def __post_init__(self) -> None:
        if self.rate != Constant(1.0):
            raise ValueError("scg finds the length of its steps itself: leave rate out")
        if self.l2 or self.clip != Clip():
            raise ValueError(
                "scg compares losses, so that nothing may change its gradients: leave clip out, "
                "and give l2 to an objective that has it"
            )

    @property
    def slots(self) -> tuple[str, ...]:
        """``direction`` (p) and ``residual`` (r). A direction of zeros begins the search."""
        return ("direction", "residual")

    @property
    def numbers(self) -> dict[str, float]:
        """``damping``, ``raised``, ``curvature`` (d), ``stepped`` (1 or 0) and ``loss`` (E)."""
        start = {"damping": self.damping, "raised": 0.0, "curvature": 0.0}
        return start | {"stepped": 1.0, "loss": 0.0}


RULES: dict[str, type[Rule]] = {
    rule.name: rule for rule in (SGD, Adam, AdamW, RMSprop, Adagrad, SCG)
}


def parse_rule(data: Any, where: str, mistakes: list[str]) -> Rule | None:
    """Return the rule ``{name: adam, rate: .., ...}``, or None with the mistakes appended."""
    return build_named(RULES, data, where, mistakes)


def constant(rate: float) -> Schedule:
    """Return a constant rate, for rules built in Python: ``SGD(constant(0.1))``."""
    return Constant(rate)
