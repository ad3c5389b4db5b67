"""Objectives' parameters as frozen data. The functions themselves are in ``learn``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar

from triptych.spec.fields import brief, build_named, option


def _names(value: Any, where: str) -> tuple[str, ...] | None:
    if value is None:
        return None
    if not isinstance(value, (list, tuple)) or not all(isinstance(name, str) for name in value):
        raise ValueError(
            f"expected a list of arrays such as [dense1/kernel] but found {brief(value)}"
        )
    return tuple(value)


@dataclass(frozen=True)
class Objective:
    """Base; ``reduction`` says how the examples of a batch become one number."""

    name: ClassVar[str] = ""
    reduction: str = option("mean", choices=("mean", "sum"))


@dataclass(frozen=True)
class TDSquared(Objective):
    """factor * (q[action] - target)^2: the squared temporal-difference error."""

    name: ClassVar[str] = "td_squared"
    factor: float = option(1.0, above=0.0)


@dataclass(frozen=True)
class TDHuber(Objective):
    """Huber: e^2 / 2 within ``delta``, delta * (|e| - delta / 2) outside (Huber 1964)."""

    name: ClassVar[str] = "td_huber"
    delta: float = option(1.0, above=0.0)


@dataclass(frozen=True)
class SquaredError(Objective):
    """factor * (output - target)^2, summed over an example's outputs."""

    name: ClassVar[str] = "squared_error"
    factor: float = option(1.0, above=0.0)


@dataclass(frozen=True)
class CrossEntropy(Objective):
    """-log softmax(output)[target], integer targets, raw logits."""

    name: ClassVar[str] = "cross_entropy"


@dataclass(frozen=True, kw_only=True)
class SparseAutoencoder(Objective):
    """error + l2 * W + sparsity * K, as MATLAB's ``trainAutoencoder`` documents it.

    error: (output - target)^2 summed over an example's outputs, or their mean where
    ``mean_over_outputs``; then ``reduction`` over the examples. MATLAB's documentation divides by
    the number of examples N; whether its code divides by N times the outputs could not be probed.
    W: 1/2 the sum of the squared weights, of ``l2_on`` or of every kernel; never of biases.
    K: sum over the units of node ``hidden`` of rho ln(rho / m) + (1 - rho) ln((1 - rho) / (1 - m)),
    rho = ``proportion`` and m the unit's mean over all examples (Olshausen and Field 1997).
    """

    name: ClassVar[str] = "sparse_autoencoder"
    hidden: str = option()
    l2: float = option(0.001, low=0.0)
    l2_on: tuple[str, ...] | None = option(None, parse=_names)
    sparsity: float = option(1.0, low=0.0)
    proportion: float = option(0.05, above=0.0, below=1.0)
    mean_over_outputs: bool = False


OBJECTIVES: dict[str, type[Objective]] = {
    item.name: item for item in (TDSquared, TDHuber, SquaredError, CrossEntropy, SparseAutoencoder)
}


def parse_objective(data: Any, where: str, mistakes: list[str]) -> Objective | None:
    """Return the objective ``{name: td_huber, ...}``, or None with the mistakes appended."""
    return build_named(OBJECTIVES, data, where, mistakes)
