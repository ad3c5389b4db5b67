"""Every constant of the oracle, in the words of the spec.

The oracle computes from the spec's layers and rule themselves, so these are the live objects.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triptych.backends._numpy.learner import NumpyLearner


def read(learner: NumpyLearner) -> dict[str, Any]:
    """Return {"conv1.stride": (1, 1), ..., "optimizer.epsilon": 1e-8, ...}."""
    network = learner.model.network
    found: dict[str, Any] = {}
    for node in network.nodes[1:]:
        own = {"inputs": list(node.inputs), "kind": node.layer.kind}
        own |= {"shares": node.shares} if node.shares else {}
        own |= node.layer.factors(*network.input_shapes(node))
        found |= {f"{node.name}.{factor}": value for factor, value in own.items()}
    if learner.rule is not None:
        found |= {f"optimizer.{key}": value for key, value in learner.rule.factors().items()}
        found["optimizer.clip"] = asdict(learner.rule.clip)
    return found
