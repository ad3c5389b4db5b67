"""What is carried from one framework to another: a trained network, and the source it comes from.

The words of ``port/``, which stands above, and of each backend's ``porting.py``. Reading and
writing are not here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from triptych.backends.protocol import DType, Params, Slots
from triptych.spec.layers import Shape
from triptych.spec.network import Network
from triptych.spec.rules import Rule

Turn = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Origin:
    """Where in a source an array comes from, and how it is turned into the canonical layout.

    Attributes:
        key: the source's own name of the array, such as ``features.0.weight``.
        turn: native to canonical; moves numbers, computes none, so that it fits params, gradients
            and slots alike.
    """

    key: str
    turn: Turn = lambda array: array

    def then(self, turn: Turn) -> Origin:
        """Return the origin with one more turn after its own."""
        before = self.turn
        return Origin(self.key, lambda array: turn(before(array)))


@dataclass(frozen=True)
class Trained:
    """A network with what it learned.

    Attributes:
        network: the layers.
        params: every array in the canonical layout, in the type of the source.
        rule: the update rule it was trained with, where the source holds one.
        slots: the optimizer's state by meaning, where the source holds one.
        places: node to its place in the source (``layer1.0.conv1``), for messages and comments.
        notes: one sentence for each thing that was left behind or turned.
    """

    network: Network
    params: Params
    rule: Rule | None = None
    slots: Slots | None = None
    places: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Given:
    """What a file may not hold and a user can say beside it.

    Attributes:
        network: the structure, for files that hold arrays alone.
        shape: of one input, canonical (channels last), for sources that leave it open.
        index: whether the inputs are indices.
        make: makes the user's own native model, for files that hold its arrays alone.
        rule: the update rule, for files that hold an optimizer's state without its constants.
        where: how the user named what made ``make``, for messages.
    """

    network: Network | None = None
    shape: Shape | None = None
    index: bool = False
    make: Callable[[], Any] | None = None
    rule: Rule | None = None
    where: str = ""


class Source(Protocol):
    """A trained network where it comes from, with the runtime that ran it.

    Observations are (batch, ...) in the canonical layout of ``trained.network``.
    """

    kind: str
    """``keras``, ``torch``, ``jax``, ``onnx``, ``matlab`` or ``triptych``."""
    runtime: str
    """What computes, for people: ``torch 2.13.0``."""
    trained: Trained
    dtypes: tuple[DType, ...]
    """The types that the runtime can compute in."""

    def outputs(self, observations: np.ndarray, dtype: DType) -> np.ndarray:
        """Return the source runtime's own output in inference mode, canonical layout."""

    def layer_outputs(self, observations: np.ndarray, dtype: DType) -> Params:
        """Return what the runtime gives at nodes, by name; those that it can tell."""

    def gradients(
        self, observations: np.ndarray, weights: np.ndarray, dtype: DType
    ) -> Params | None:
        """Return the gradient of ``sum(output * weights)`` by the arrays that learn.

        In training mode with all dropout off; batch statistics are those of the observations, and
        running ones stay as they are. None where the runtime has no gradients.
        """


class Written(Protocol):
    """What was written, loaded again by its own runtime, without Triptych's code in between."""

    runtime: str
    dtypes: tuple[DType, ...]

    def outputs(self, observations: np.ndarray, dtype: DType) -> np.ndarray:
        """Return its output in inference mode, canonical layout."""

    def params(self) -> Params:
        """Return the arrays it holds, canonical layout, for the comparison bit by bit."""


class Porter(Protocol):
    """A framework's files and objects, read and written: ``PORTER`` in a backend's ``porting.py``,
    and for formats without a backend in ``port/``."""

    def read(self, path: Path, given: Given) -> Source:
        """Return the source in a file or folder.

        Raises:
            PortError: it is broken, hostile, or holds what has no canonical form; the message names
                the place in the file. No code from a file is executed.
        """

    def read_object(self, model: Any, given: Given, optimizer: Any = None) -> Source:
        """Return the source that a live native object is; as :meth:`read`."""

    def write(self, trained: Trained, path: Path, title: str) -> list[Path]:
        """Write native files beside each other and return them.

        ``path`` is the main file, its parent exists; the native source text, and what else belongs
        to it, has the same stem: ``net.keras``, ``net.py``.
        """

    def load(self, trained: Trained, path: Path, title: str) -> Written:
        """Return what :meth:`write` wrote, loaded by its own runtime."""
