"""A user's own setup, alive: what the audit reads and the ladder climbs, on any framework.

How a framework's objects are read is in each backend's ``native.py``; which words the factors have
is in ``parity/audit.py``. A native setup answers what a :class:`triptych.backends.protocol.Learner`
answers, with arrays in the canonical layout (channels last, dense (in, out), conv (height, width,
in, out)), and a few questions more, by which ``parity/probing`` finds out what can't be read.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np

from triptych.backends.protocol import Batch, DType, Params, Slots

Setup = Callable[[], Mapping[str, Any]]
"""A user's function: returns ``model``, ``optimizer``, ``loss`` and ``batch``."""


@dataclass(frozen=True)
class NativeNode:
    """One main layer of a user's model, in the order of execution.

    Attributes:
        name: its kind and a counter: ``conv1``, ``dense2``, ``batch_norm1``, ``lstm1``; a layer
            that is not known is ``unknown1``.
        kind: the spec's word for it.
        path: where it stands in the user's own model, such as ``net.0``, for messages.
        options: the constants read from the live object, in the spec's words and values.
        parameters: local name (``kernel``, ``bias``, ``scale``, ...) to shape, canonical layout;
            ``trainable`` holds the local names that learn.
        activation: the elementwise function that follows, such as ``relu``; ``linear`` for none.
    """

    name: str
    kind: str
    path: str
    options: Mapping[str, Any] = field(default_factory=dict)
    parameters: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    trainable: tuple[str, ...] = ()
    activation: str = "linear"


class Native(Protocol):
    """A user's model, optimizer, loss and batch on one framework, in one type.

    ``batch`` has the keys ``input`` and ``target``, in the canonical layout. Names of arrays are
    ``<node>/<local name>``. ``where`` is the user's ``file.py:function``. ``masks_seed`` draws the
    dropout masks of ``loss``, ``gradients`` and ``update``, which no framework draws.
    """

    framework: str
    where: str
    dtype: DType
    nodes: tuple[NativeNode, ...]
    batch: Batch
    updates: int
    masks_seed: int

    @property
    def trainable(self) -> tuple[str, ...]:
        """The names of the arrays that learn, in order."""

    def read(self) -> dict[str, Any]:
        """Return the factors that the live objects show without probing, by audit key.

        Optimizer constants are among them where the framework keeps them readable (torch's param
        groups, Keras' config); an Optax closure shows none.
        """

    def params(self) -> Params:
        """Return all arrays, running statistics included."""

    def load_params(self, params: Params) -> None:
        """Replace all arrays; names and shapes must be the model's."""

    def layer_outputs(self, observations: np.ndarray, training: bool = False) -> Params:
        """Return every node's output by name, before its activation, and the model's: ``output``.

        Running statistics are left as they were.
        """

    def layer(self, name: str, inputs: np.ndarray, training: bool = False) -> np.ndarray:
        """Return one node's output, before its activation, for a chosen input of any batch size.

        Arrays and running statistics are left as they were. For probing: shapes other than the
        model's own are allowed where the layer itself allows them.
        """

    def activation(self, name: str, values: np.ndarray) -> np.ndarray:
        """Return what follows node ``name`` elementwise, applied to chosen values (n,)."""

    def restart(self, params: Params) -> None:
        """Begin again from these params: no update made, the optimizer's state as at first."""

    def loss_of(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        """Return the user's loss for chosen outputs and targets; a scalar, or unreduced."""

    def loss(self, batch: Batch) -> float:
        """Return the loss on a batch, in training mode, without learning from it."""

    def gradients(self, batch: Batch) -> Params:
        """Return the gradient of every trainable array."""

    def update(self, batch: Batch) -> Any:
        """Make one update with the user's optimizer; return the loss before it."""

    def play(
        self, gradients: Sequence[Params], start: Params | None = None, first: int = 0
    ) -> list[Params]:
        """Return the trainable params after each of the given gradients.

        A fresh copy of the optimizer is used, at the params ``start`` (its own unless given); the
        user's own is left alone. ``first`` is the number of updates made before, for schedules
        (with zero gradients and untouched slots where the framework can set its counter).
        """

    def redraw(self) -> Params | None:
        """Return the params of a second call of the user's function; None if they are the same."""

    def slots(self) -> Slots:
        """Return the optimizer's state where its meaning is known, else no values."""


class NativeBackend(Protocol):
    """What each framework's ``native.py`` offers, as ``NATIVE``; ``expected`` names a model."""

    expected: str

    def owns(self, objects: Mapping[str, Any]) -> bool:
        """Whether the model is this framework's."""

    def build(self, setup: Setup, where: str, dtype: DType) -> Native:
        """Call the user's function and return the setup, in this type.

        Raises:
            SetupError: it raises, or returns something else than is expected; the message names the
                key, what was found and what was expected.
        """
