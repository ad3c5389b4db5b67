"""The whole interface between Triptych and a framework.

Arrays cross it as NumPy arrays, in the canonical layout: channels last, dense (in, out), conv
(height, width, in, out). Nothing here is implemented; shared host code is in ``base.py``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from triptych.spec.network import Network
from triptych.spec.rules import Rule

Params = dict[str, np.ndarray]
Batch = Mapping[str, np.ndarray]
DType = Literal["float32", "float64"]


@dataclass(frozen=True)
class Slots:
    """An optimizer's state by meaning: updates made, for each slot an array per parameter, and what
    is kept once for all of them (see ``Rule.numbers``)."""

    updates: int = 0
    values: dict[str, Params] = field(default_factory=dict)
    numbers: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluation:
    """One forward pass an objective asks for.

    Attributes:
        name: the key of the result in ``outputs``.
        network: ``online``, which learns, or ``target``, its earlier copy.
        input: the key of the batch that is fed.
        gradient: whether the loss is differentiated through it; only such a pass is in training
            mode (dropout, batch statistics). Passes without gradient use the running statistics
            from before the update.
        nodes: further nodes of the online network whose outputs in the same pass are results too,
            under ``<name>/<node>``.
    """

    name: str
    network: Literal["online", "target"] = "online"
    input: str = "observation"
    gradient: bool = True
    nodes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.network == "target" and self.nodes:
            raise ValueError("the nodes of an evaluation are read from the online network")
        if self.network == "target" and self.gradient:
            raise ValueError("the target network is a copy: no gradient flows through it")


class Namespace(Protocol):
    """The array functions that objectives are written in; names follow the Python array API."""

    def sum(self, x: Any, axis: int | None = None) -> Any: ...  # noqa: D102
    def mean(self, x: Any, axis: int | None = None) -> Any: ...  # noqa: D102
    def max(self, x: Any, axis: int) -> Any: ...  # noqa: D102
    def argmax(self, x: Any, axis: int) -> Any: ...  # noqa: D102
    def abs(self, x: Any) -> Any: ...  # noqa: D102
    def square(self, x: Any) -> Any: ...  # noqa: D102
    def log(self, x: Any) -> Any: ...  # noqa: D102
    def where(self, condition: Any, x: Any, y: Any) -> Any:
        """Return x where the condition holds, else y; x or y must be an array."""

    def log_softmax(self, x: Any, axis: int) -> Any: ...  # noqa: D102
    def one_hot(self, x: Any, size: int, like: Any) -> Any:
        """Return 1 where the last axis equals x, else 0, in the type of ``like``."""

    def take_along_axis(self, x: Any, indices: Any, axis: int) -> Any: ...  # noqa: D102
    def stop_gradient(self, x: Any) -> Any: ...  # noqa: D102
    def expand_dims(self, x: Any, axis: int) -> Any: ...  # noqa: D102
    def squeeze(self, x: Any, axis: int) -> Any: ...  # noqa: D102
    def astype(self, x: Any, like: Any) -> Any:
        """Return x in the type of ``like``."""


class Objective(Protocol):
    """A pure function from outputs and a batch to a loss, written once for all frameworks.

    It may also have ``factors()``, which returns every constant the loss depends on, by name, for
    rung 0 to compare; and ``reads``, the names of arrays of the online network that learn and
    that the loss reads itself: they are among the ``outputs`` under their names, in the
    framework's own layout, with gradient. And ``reports(xp, outputs, batch)``, which takes what
    ``loss`` takes and returns arrays of (batch,) by name: after an update they are the learner's
    ``reported``.
    """

    @property
    def evaluations(self) -> tuple[Evaluation, ...]:
        """The forward passes that :meth:`loss` reads."""

    def loss(self, xp: Namespace, outputs: Mapping[str, Any], batch: Mapping[str, Any]) -> Any:
        """Return the loss, a scalar of the namespace."""


@runtime_checkable
class Learner(Protocol):
    """A network, an objective and an update rule, alive on one backend."""

    network: Network
    rule: Rule | None
    dtype: DType
    updates: int
    reported: Mapping[str, Any]
    """What the objective reported in the last update: arrays of (batch,) by name, that
    ``numpy.asarray`` reads; empty for an objective without ``reports``."""

    @property
    def model(self) -> Any:
        """The framework's own native model, up to date."""

    def outputs(self, observations: np.ndarray, network: str = "online") -> np.ndarray:
        """Return the network's output (batch, ...) in inference mode."""

    def layer_outputs(self, observations: np.ndarray, training: bool = False) -> Params:
        """Return every node's output by name; running statistics are left as they were."""

    def start(self, batch: int) -> Params:
        """Return the state before the first step of ``batch`` sequences, all zero, by name:
        ``lstm1/hidden`` (batch, units), ``lstm1/cell``.

        Raises:
            NetworkError: the network cannot be run step by step; see ``Network.states``.
        """

    def step(
        self, observations: np.ndarray, state: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, Params]:
        """Return the output (batch, ...) for one step of (batch, features), and the state after it.

        In inference mode. Through all steps of a sequence the outputs are those of
        :meth:`outputs`, which without ``sequences`` is the last one.
        """

    def loss(self, batch: Batch) -> float:
        """Return the objective on a batch, in training mode, without learning from it."""

    def gradients(self, batch: Batch) -> Params:
        """Return the gradient of every trainable parameter, before clipping."""

    def update(self, batch: Batch) -> Any:
        """Make one update and return the loss before it: something ``float()`` reads."""

    def apply_gradients(self, gradients: Params) -> None:
        """Make one update with the given gradients (clipping and l2 included).

        Raises:
            BackendError: the rule searches, and asks for losses at points of its own choice.
        """

    def params(self, network: str = "online") -> Params:
        """Return all arrays, running statistics included."""

    def load_params(self, params: Params, network: str = "online") -> None:
        """Replace all arrays; names and shapes must be the network's."""

    def slots(self) -> Slots:
        """Return the optimizer's state."""

    def load_slots(self, slots: Slots) -> None:
        """Replace the optimizer's state."""

    def sync_target(self) -> None:
        """Copy the online network into the target network."""

    def factors(self) -> dict[str, Any]:
        """Return every constant read back from the live native objects, by place and name."""

    def state(self) -> dict[str, Any]:
        """Return everything needed to go on exactly: nested dict of arrays and plain values."""

    def restore(self, state: Mapping[str, Any]) -> None:
        """Put a state from :meth:`state` back."""


class Backend(Protocol):
    """One framework."""

    name: str

    def versions(self) -> dict[str, str]:
        """Return the versions of the packages that compute."""

    def learner(
        self,
        network: Network,
        params: Params,
        *,
        objective: Objective | None = None,
        rule: Rule | None = None,
        dtype: DType = "float32",
        seed: int = 0,
        target: bool = False,
    ) -> Learner:
        """Return a learner that starts from ``params``.

        Args:
            network: the layers.
            params: initial values in the canonical layout; cast to ``dtype``.
            objective: needed by loss, gradients and update.
            rule: needed by update, apply_gradients and slots.
            dtype: the type of params and arithmetic.
            seed: of the stream ``dropout``, the only randomness inside a learner.
            target: whether to keep a target network, which starts equal.

        Raises:
            Unsupported: the backend cannot express a layer or the rule exactly.
        """

    def source(self, network: Network, title: str) -> str:
        """Return the network's native definition as Python text a person can keep."""
