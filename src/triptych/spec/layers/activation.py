"""The usual elementwise functions, each constant pinned, and the two softmaxes on the last axis."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from triptych.spec.layers.base import Activation


@dataclass(frozen=True)
class ReLU(Activation):
    """max(x, 0)."""

    kind: ClassVar[str] = "relu"


@dataclass(frozen=True)
class ReLU6(Activation):
    """min(max(x, 0), 6)."""

    kind: ClassVar[str] = "relu6"


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """x where x > 0, else slope * x."""

    kind: ClassVar[str] = "leaky_relu"
    slope: float = 0.01


@dataclass(frozen=True)
class ELU(Activation):
    """x where x > 0, else alpha * (exp(x) - 1)."""

    kind: ClassVar[str] = "elu"
    alpha: float = 1.0


@dataclass(frozen=True)
class SELU(Activation):
    """scale * (x where x > 0, else alpha * (exp(x) - 1)), constants of Klambauer et al. 2017."""

    kind: ClassVar[str] = "selu"
    alpha: ClassVar[float] = 1.6732632423543772
    scale: ClassVar[float] = 1.0507009873554805


@dataclass(frozen=True)
class GELU(Activation):
    """x * Phi(x) (Hendrycks, Gimpel 2016), exact, or by tanh where ``approximate`` is set."""

    kind: ClassVar[str] = "gelu"
    approximate: bool = False


@dataclass(frozen=True)
class SiLU(Activation):
    """x * sigmoid(x), also called swish."""

    kind: ClassVar[str] = "silu"


@dataclass(frozen=True)
class Sigmoid(Activation):
    """1 / (1 + exp(-x))."""

    kind: ClassVar[str] = "sigmoid"


@dataclass(frozen=True)
class HardSigmoid(Activation):
    """min(max(slope * x + 1/2, 0), 1); slope 1/6, or 1/5 for Keras 2."""

    kind: ClassVar[str] = "hard_sigmoid"
    slope: float = 1 / 6


@dataclass(frozen=True)
class Tanh(Activation):
    """tanh(x)."""

    kind: ClassVar[str] = "tanh"


@dataclass(frozen=True)
class Softplus(Activation):
    """log(1 + exp(x)), exact everywhere."""

    kind: ClassVar[str] = "softplus"


@dataclass(frozen=True)
class Softmax(Activation):
    """exp(x) / sum exp(x) on the last axis."""

    kind: ClassVar[str] = "softmax"


@dataclass(frozen=True)
class LogSoftmax(Activation):
    """x - log sum exp(x) on the last axis."""

    kind: ClassVar[str] = "log_softmax"
