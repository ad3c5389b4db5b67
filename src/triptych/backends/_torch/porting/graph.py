"""From a PyTorch program to a network: walks the operations that ``torch.export`` lists, in order.

Which operation is which layer is in ``calls.py``; files are in ``files.py``. Images are
channels first here, as PyTorch has them, and the batch may lie on any axis.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.fx import Node

from triptych.backends._torch.porting import arithmetic, layers, moves
from triptych.backends._torch.porting.calls import Array, Call, Final, Product, Seen
from triptych.backends.carried import Origin
from triptych.backends.graph import GraphBuilder, Value
from triptych.errors import PortError, in_one_line
from triptych.spec.layers import Layer, Recurrent, Shape
from triptych.spec.network import Network

HANDLERS = layers.HANDLERS | arithmetic.HANDLERS | moves.HANDLERS
BATCH = 5
"""Examples in a traced batch: a size that layers rarely have, so that messages can be clear."""


@dataclass(frozen=True)
class Seat:
    """Where a program computes a node's output: an operation, and how its axes are seen."""

    operation: str
    seen: Seen


@dataclass(frozen=True)
class Drawn:
    """What a program holds, in the words of the spec.

    Attributes:
        origins: canonical name of every array to its origin.
        padded: arrays with a row that does not learn.
        made: arrays that stand in for what the program leaves out, such as scales of one.
        seats: node to where the program computes it.
    """

    network: Network
    origins: Mapping[str, Origin]
    places: Mapping[str, str]
    input: Value
    output: Value
    notes: tuple[str, ...]
    made: Mapping[str, np.ndarray]
    seats: Mapping[str, Seat]
    padded: frozenset[str]


def export(model: nn.Module, example: Tensor, source: str) -> ExportedProgram:
    """Return the program of a model in inference mode.

    Raises:
        PortError: it can't be traced, for example since the example doesn't fit its first layer.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.export.export(model.eval(), (example,), strict=False)
    except Exception as error:
        raise PortError(
            f"{source}: the model can't be traced on an input of shape {tuple(example.shape)}: "
            f"{in_one_line(error)}; give the input's shape, channels last: --input 32x32x3, or "
            "'20 index' for indices"
        ) from error


def draw(program: ExportedProgram, source: str) -> Drawn:
    """Return the network of a program.

    Args:
        program: as exported, or loaded from a file.
        source: what is read, for messages, such as ``net.pt2``.

    Raises:
        PortError: an operation has no canonical form; the message names its place.
    """
    return Walk(program, source).run()


@dataclass
class Walk:
    """One walk through a program."""

    program: ExportedProgram
    source: str
    notes: list[str] = field(default_factory=list)
    made: dict[str, np.ndarray] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.builder = GraphBuilder(self.source)
        self.known: dict[Node, Any] = {}
        self.seats: dict[str, Seat] = {}
        self.padded: set[str] = set()
        self.finals: dict[str, Value] = {}
        self.batch: Any = BATCH
        self._memory = 0

    def run(self) -> Drawn:
        """Walk from the input to the output."""
        inputs = self._placeholders()
        result: Any = None
        for node in self.program.graph.nodes:
            if node.op == "call_function":
                self._step(node)
            elif node.op == "output":
                result = self._outcome(node)
            elif node.op != "placeholder":
                raise self.builder.refuse(str(node.name), f"is a {node.op}, which is not known")
        network = self.builder.finish(result.value)
        self._check_origins()
        self._say_unused()
        origins = self.builder.origins
        return Drawn(
            network, origins, self.builder.places, inputs.value, result.value,
            tuple(dict.fromkeys(self.notes)), self.made, self.seats,
            frozenset(self.padded),
        )  # fmt: skip

    # --- inputs and outputs ----------------------------------------------------------------------

    def _placeholders(self) -> Seen:
        """Know every array, and begin the network with the one input."""
        signature = self.program.graph_signature
        names = signature.inputs_to_parameters | signature.inputs_to_buffers
        names = names | signature.inputs_to_lifted_tensor_constants
        found: list[Seen] = []
        for node in self.program.graph.nodes:
            if node.op != "placeholder":
                continue
            if node.name in names:
                self.known[node] = self._array(node, names[node.name])
            else:
                found.append(self._input(node, len(found)))
        if len(found) != 1:
            raise self.builder.refuse("the inputs", f"there are {len(found)}; expected one tensor")
        return found[0]

    def _array(self, node: Node, key: str) -> Array:
        held = self.program.state_dict.get(key, self.program.constants.get(key))
        shape = tuple(int(size) for size in node.meta["val"].shape)
        number = None
        if isinstance(held, Tensor) and not isinstance(held, nn.Parameter) and held.numel() == 1:
            number = float(held)
        frozen = isinstance(held, nn.Parameter) and not held.requires_grad
        silent = frozen and not bool(held.detach().any())
        return Array(key, shape, number=number, silent=silent)

    def _input(self, node: Node, number: int) -> Seen:
        example = node.meta.get("val")
        if number or not isinstance(example, Tensor):
            raise self.builder.refuse("the inputs", "there are several; expected one tensor")
        if example.ndim < 2:
            shape = tuple(example.shape)
            raise self.builder.refuse("the input", f"expected (batch, ...), got shape {shape}")
        self.batch, *rest = example.shape
        if not all(isinstance(size, int) for size in rest):
            raise self.builder.refuse(
                "the input", f"its shape {tuple(example.shape)} is open on other axes than the "
                "first; export it with fixed sizes",
            )  # fmt: skip
        index = not example.is_floating_point() and example.dtype != torch.uint8
        value = self.builder.input(tuple(rest), index, channels_first=not _comes_last(node))
        seen = self.fresh(value)
        self.known[node] = seen
        self.seats[value.node] = Seat(node.name, seen)
        return seen

    def _outcome(self, node: Node) -> Seen:
        outputs = [self.known[out] for out in _flat(node.args[0]) if isinstance(out, Node)]
        if len(outputs) != 1:
            raise self.builder.refuse(
                "the output", f"the model returns {len(outputs)} tensors, expected one; wrap it in "
                "a module that returns the one to port",
            )  # fmt: skip
        call = Call("output", "the output", {"self": outputs[0]}, ())
        seen = self.seen(call)
        if seen.batch != 0:
            raise self.builder.refuse("the output", f"has the batch on axis {seen.batch}, not 0")
        return seen

    # --- one operation ---------------------------------------------------------------------------

    def _step(self, node: Node) -> None:
        if not isinstance(node.meta.get("val"), (Tensor, list, tuple)):
            # A size, or an assertion about one.
            self.known[node] = node.meta.get("val")
            return
        call = self._call(node)
        handler = HANDLERS.get(call.name)
        if handler is None:
            raise self.builder.refuse(f"{call.place} ({node.target})", "has no canonical form")
        result = handler(self, call)
        self.known[node] = result
        if isinstance(result, Seen):
            self.seats.setdefault(result.value.node, Seat(node.name, result))
        if call.name.endswith("_") and node.args and isinstance(node.args[0], Node):
            self._overwrite(node.args[0], result)

    def _call(self, node: Node) -> Call:
        """Bind an operation's arguments to the names of its schema."""
        place = _place(node)
        target: Any = node.target
        if not hasattr(target, "_schema"):
            given = {str(at): self._known(arg) for at, arg in enumerate(node.args)}
            return Call(getattr(target, "__name__", str(target)), place, given, ())
        given = {}
        for at, argument in enumerate(target._schema.arguments):
            arg = argument.default_value if argument.has_default_value() else None
            arg = node.args[at] if at < len(node.args) else node.kwargs.get(argument.name, arg)
            given[argument.name] = self._known(arg)
        shape = getattr(node.meta.get("val"), "shape", ())
        name = target._schema.name
        name = name.removeprefix("aten::") if name.startswith("aten::") else name
        return Call(name, place, given, tuple(shape))

    def _known(self, arg: Any) -> Any:
        """What an argument is: a value, an array, a number, or a list of those."""
        if isinstance(arg, Node):
            return self.known[arg]
        if isinstance(arg, (list, tuple)):
            return type(arg)(self._known(one) for one in arg)
        return arg

    def _overwrite(self, changed: Node, result: Any) -> None:
        """An operation in place: whatever sees the same memory sees the result."""
        before = self.known[changed]
        if not (isinstance(before, Seen) and isinstance(result, Seen)):
            return
        alike = (before.value.axes, before.value.order) == (result.value.axes, result.value.order)
        for node, known in self.known.items():
            if not isinstance(known, Seen) or known.memory != before.memory:
                continue
            if alike and known.value.node == before.value.node:
                moved = replace(known.value, node=result.value.node)
                self.known[node] = replace(known, value=moved, memory=result.memory)
            elif known != result:
                self.known[node] = "what was changed in place through another view of it"

    # --- what handlers ask -----------------------------------------------------------------------

    def fresh(self, value: Value, batch: int = 0) -> Seen:
        """Return a value in memory of its own."""
        self._memory += 1
        return Seen(value, batch, self._memory)

    def seen(self, call: Call, name: str = "self") -> Seen:
        """Return a tensor argument that depends on the input."""
        return self.as_seen(call, call.given[name])

    def as_seen(self, call: Call, found: Any) -> Seen:
        """Return a known thing as a tensor that depends on the input."""
        if isinstance(found, Product):
            return found.settled(self)
        if isinstance(found, Seen):
            return found
        raise self.builder.refuse(f"{call.place} ({call.name})", f"takes {_what(found)}")

    def array(self, call: Call, name: str) -> Array | None:
        """Return an argument that is one of the model's arrays, or None where there is none."""
        found = call.given.get(name)
        if found is None or isinstance(found, Array):
            return found
        raise self.builder.refuse(
            f"{call.place} ({call.name})", f"its {name} is computed, expected one of the arrays"
        )

    def axis(self, call: Call, seen: Seen, dim: int) -> int:
        """Return one of PyTorch's dimensions as an axis counted without the batch."""
        dim %= len(seen.value.axes) + 1
        if dim == seen.batch:
            raise self.builder.refuse(f"{call.place} ({call.name})", "works across the batch")
        return dim - (dim > seen.batch)

    def shape(self, seen: Seen) -> Shape:
        """Return a value's shape as PyTorch has it, without the batch."""
        return self.builder.shape(seen.value)

    def layer(self, seen: Seen) -> Layer:
        """Return the layer that gives a value."""
        return next(one.layer for one in self.builder.nodes if one.name == seen.value.node)

    def final(self, call: Call, state: Value, last: bool | None = None) -> Seen:
        """Return a recurrent layer's final state, given its outputs at all steps.

        The layer without ``sequences`` gives it; the one with them leads nowhere if it is not used
        otherwise, and is left out at the end.

        Args:
            last: which step of the outputs is asked for, the last or the first; None: the state.
        """
        node = next(one for one in self.builder.nodes if one.name == state.node)
        layer = node.layer
        if not isinstance(layer, Recurrent) or not layer.sequences or state.axes != (0, 1):
            raise self.builder.refuse(
                f"{call.place} ({call.name})", "takes one step of a sequence that is not the plain "
                "output of a recurrent layer",
            )  # fmt: skip
        if last is not None and last == layer.reverse:
            raise self.builder.refuse(
                f"{call.place} ({call.name})", "takes a step that is not the layer's final one"
            )
        if state.node not in self.finals:
            self.finals[state.node] = self._again(node.name, layer)
        return self.fresh(self.finals[state.node])

    def _again(self, name: str, layer: Recurrent) -> Value:
        builder = self.builder
        node = next(one for one in builder.nodes if one.name == name)
        before = Value(node.inputs[0], (0, 1))
        origins = {
            local: builder.origins[f"{node.owner}/{local}"]
            for local in layer.parameters(builder.shape(before))
        }
        shared = (tuple(origin.key for origin in origins.values()), "final")
        return builder.add(
            replace(layer, sequences=False), [before], builder.places[name], origins, shared
        )

    # --- checks at the end -----------------------------------------------------------------------

    def _check_origins(self) -> None:
        """One array of the source is one array of the network, or updates would part them."""
        owners: dict[str, str] = {}
        for name, origin in self.builder.origins.items():
            node = name.rsplit("/", 1)[0]
            other = owners.setdefault(origin.key, node)
            if other != node:
                raise self.builder.refuse(
                    self.builder.places[node], f"uses the array {origin.key} as "
                    f"{self.builder.places[other]} does, but in another way (tied weights, or both "
                    "all steps and the last), which has no canonical form",
                )  # fmt: skip

    def _say_unused(self) -> None:
        used = {origin.key for origin in self.builder.origins.values()}
        used |= {
            array.key for array in self.known.values() if isinstance(array, Array) and array.silent
        }
        left = [key for key in self.program.graph_signature.parameters if key not in used]
        if left:
            self.notes.append(f"left behind, since the output does not use them: {', '.join(left)}")


def _comes_last(node: Node) -> bool:
    """Whether images come in as (height, width, channels), which the model turns itself."""
    while len(node.users) == 1:
        node = next(iter(node.users))
        if str(node.target) == "aten.permute.default":
            return list(node.args[1]) == [0, 3, 1, 2]
        if not str(node.target).startswith(("aten.to.", "aten._to_copy", "aten.div.", "aten.mul.")):
            return False
    return False


def _flat(outputs: Any) -> list[Any]:
    if isinstance(outputs, (list, tuple)):
        return [one for part in outputs for one in _flat(part)]
    if isinstance(outputs, dict):
        return _flat(list(outputs.values()))
    return [outputs]


def _place(node: Node) -> str:
    """``layer1.0.conv1``: the path of the innermost module."""
    stack = node.meta.get("nn_module_stack") or {}
    paths = [str(path) for path, _ in stack.values()]
    path = paths[-1].removeprefix("L['self'].") if paths else ""
    return path if path and not path.startswith("_empty") else "the model"


def _what(found: Any) -> str:
    if isinstance(found, Array):
        return f"the array {found.key}, which is not the input of a layer anywhere else"
    if isinstance(found, Final):
        return "the final states of several layers at once"
    if isinstance(found, str):
        return found
    return "a value that has no canonical form there"
