"""What a walk through a PyTorch program has in hand: tensors, arrays, and calls of operations.

Which operation is which layer is in ``layers.py``, ``arithmetic.py`` and
``moves.py``; who walks, in ``graph.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from triptych.backends._torch.layouts import HOMES
from triptych.backends.carried import Origin, Turn
from triptych.backends.graph import Value
from triptych.errors import PortError
from triptych.spec.layers import Shape
from triptych.spec.layers.convolution import Pair

if TYPE_CHECKING:
    from triptych.backends._torch.porting.graph import Walk


@dataclass(frozen=True)
class Seen:
    """A tensor that depends on the input.

    Attributes:
        value: which node gives it, and the order of its axes without the batch.
        batch: the axis on which the batch lies.
        memory: tensors of one number share their memory, so that a change in place meets them all.
    """

    value: Value
    batch: int = 0
    memory: int = 0


@dataclass(frozen=True)
class Array:
    """One of the model's own arrays, seen through turns of its axes.

    Attributes:
        turn: from the array in the model to this.
        number: its value where it is one number that does not learn.
        silent: whether it is zero and frozen, as a second bias is that stands for none.
    """

    key: str
    shape: Shape
    turn: Turn = lambda array: array
    number: float | None = None
    silent: bool = False

    def origin(self, kind: str, local: str) -> Origin:
        """Return where a layer's array comes from, given this as PyTorch's array of that layer."""
        return Origin(self.key, self.turn).then(HOMES[kind][local].to_canonical)


@dataclass(frozen=True)
class Product:
    """A matrix product with an array, which may get a bias yet."""

    seen: Seen
    kernel: Array
    place: str

    def settled(self, walk: Walk, bias: Array | None = None) -> Seen:
        """Return the dense layer's output; the kernel is (in, out) here."""
        kernel = Origin(self.kernel.key, self.kernel.turn)
        keys = (self.kernel.key, bias and bias.key)
        offset = None if bias is None else Origin(bias.key, bias.turn)
        value = walk.builder.dense(
            self.seen.value, self.kernel.shape[1], self.place, kernel, offset, keys
        )
        return walk.fresh(value, self.seen.batch)


@dataclass(frozen=True)
class Final:
    """Recurrent layers' states after the last step, by layer and direction, side by side."""

    states: tuple[Value, ...]


@dataclass(frozen=True)
class Filled:
    """A tensor of one number made on the way, as a state before the first step is."""

    number: float | None


@dataclass(frozen=True)
class Mean:
    """The mean over the last axis, kept as an axis of size 1: a part of a dueling head."""

    of: Seen


@dataclass(frozen=True)
class Part:
    """A dueling head on its way: ``value + advantage``, or ``advantage - mean`` without a value."""

    value: Seen | None
    advantage: Seen


@dataclass(frozen=True)
class Call:
    """One operation with its arguments by the names of its schema.

    Attributes:
        name: such as ``conv2d``.
        place: where in the source it stands, such as ``layer1.0.conv1``.
        shape: of what it returns, with the batch; empty where it returns several.
    """

    name: str
    place: str
    given: Mapping[str, Any]
    shape: tuple[Any, ...]

    def __getitem__(self, name: str) -> Any:
        return self.given[name]


Handler = Callable[["Walk", Call], Any]


def refuse(walk: Walk, call: Call, what: str) -> PortError:
    return walk.builder.refuse(f"{call.place} ({call.name})", what)


def need_front(walk: Walk, call: Call, seen: Seen) -> None:
    if seen.batch != 0:
        raise refuse(walk, call, f"has the batch on axis {seen.batch}, expected it in front")


def pair(value: Any) -> Pair:
    both = tuple(value) if isinstance(value, (list, tuple)) else (value,)
    return (int(both[0]), int(both[-1]))
