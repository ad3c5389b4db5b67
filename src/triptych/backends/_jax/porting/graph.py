"""From a Flax model, traced by JAX, to a network of the spec: one program, equation by equation.

The model's main layers stand in the program as equations of their own (``calls.py``); what
lies between them is JAX's primitives: those that move numbers (``moves.py``) and
elementwise formulas (``formulas.py``). The model's arrays and files are in ``porting.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
from jax.extend.core import Literal

from triptych.backends._jax.porting import calls
from triptych.backends._jax.porting.calls import Call
from triptych.backends._jax.porting.formulas import (
    ELEMENTWISE,
    WORDS,
    Formula,
    Item,
    Known,
    Part,
    Seen,
    formula,
    settle,
)
from triptych.backends._jax.porting.moves import BATCH, MOVES, average, without
from triptych.backends.carried import Origin
from triptych.backends.graph import GraphBuilder, Value
from triptych.backends.native_parts import RECURRENT, Shape
from triptych.errors import NetworkError, PortError
from triptych.spec import layers as spec
from triptych.spec.network import Network


@dataclass(frozen=True)
class Graph:
    """What was read.

    Attributes:
        network: the layers.
        origins: where every array comes from, by canonical name.
        places: node to its place.
        output: the last value, whose axes the program may see in another order.
        nodes: for each call of a main layer what it gave, and which of the call's outputs that is.
        casts: whether the program rounds to a smaller type by itself.
    """

    network: Network
    origins: dict[str, Origin]
    places: dict[str, str]
    output: Seen
    nodes: dict[int, tuple[Seen, int]]
    casts: bool


def read(
    run: Callable[[Any], Any], calls: list[Call], shape: Shape, index: bool, source: str
) -> Graph:
    """Return the network that a function of one input computes.

    Args:
        run: the model in inference mode, under :func:`calls.watched`.
        calls: the list that the watching fills.
        shape: of one input.
        index: whether it holds indices.
        source: what is read, for messages.

    Raises:
        PortError: something in it has no canonical form; the message names its place.
    """
    given = jax.ShapeDtypeStruct((BATCH, *shape), jnp.int32 if index else jnp.float64)
    program = jax.make_jaxpr(run)(given)
    if len(program.out_avals) != 1:
        raise PortError(f"{source}: gives {len(program.out_avals)} outputs, but a network has one")
    walk = Walk(GraphBuilder(source), calls)
    start = Seen(walk.builder.input(shape, index))
    (end,) = walk.run(program.jaxpr, [Known(const) for const in program.consts], [start])
    output = walk.settle(end, "the output")
    network = walk.builder.finish(output.value)
    nodes = {n: found for n, found in walk.found.items() if found[0].value.node in network.by_name}
    return Graph(network, walk.builder.origins, walk.builder.places, output, nodes, walk.casts)


class Walk:
    """Goes through a program in order and adds to a builder what it recognises.

    Attributes:
        builder: what collects the network.
        found: for each call of a main layer what it gave, and which of its outputs that is.
        casts: whether a real value was rounded to a smaller type.
    """

    def __init__(self, builder: GraphBuilder, calls: list[Call]) -> None:
        self.builder, self.calls = builder, calls
        self.found: dict[int, tuple[Seen, int]] = {}
        self.casts = False
        self.around: list[Any] = []

    def run(self, program: Any, consts: Sequence[Item], inputs: Sequence[Item]) -> list[Item]:
        """Return the outputs of a program; equations that they don't need are passed over."""
        env: dict[Any, Item] = dict(zip(program.constvars, consts, strict=True))
        env |= dict(zip(program.invars, inputs, strict=True))
        for equation in _needed(program):
            results = self.equation(equation, [_item(env, var) for var in _operands(equation)])
            env |= dict(zip(equation.outvars, results, strict=True))
        return [_item(env, var) for var in program.outvars]

    def equation(self, equation: Any, given: list[Item]) -> list[Item]:
        """Return the results of one equation."""
        name, inner = equation.primitive.name, _inner(equation)
        if inner is not None:
            consts = [Known(const) for const in getattr(inner, "consts", ())]
            self.around.append(equation)
            results = self.run(getattr(inner, "jaxpr", inner), consts, given)
            self.around.pop()
            return results
        if name == "layer":
            return self.layer(equation, given[0])
        if all(isinstance(item, Known) for item in given):
            return self.constant(equation, given)
        if name in MOVES:
            return [MOVES[name](self, equation, *given)]
        if name in ELEMENTWISE:
            return [formula(self, equation, given)]
        raise self.refuse(equation, "has no canonical form")

    def constant(self, equation: Any, given: list[Item]) -> list[Item]:
        """Return what an equation makes of constants alone."""
        values = [item.array for item in given if isinstance(item, Known)]
        results = equation.primitive.bind(*values, **equation.params)
        return [Known(r) for r in (results if equation.primitive.multiple_results else [results])]

    def place(self, equation: Any) -> str:
        """Return where in the user's code an equation comes from: ``net.py:12 (__call__)``."""
        # JAX keeps inner programs, so that their equations may have been traced elsewhere.
        for outer in [*self.around, equation]:
            traceback = outer.source_info.traceback
            for frame in traceback.frames if traceback else ():
                if not frame.file_name.startswith(_NOT_THE_USERS):
                    name = frame.function_name.rsplit(".", 1)[-1]
                    return f"{Path(frame.file_name).name}:{frame.line_num} ({name})"
        return "the model"

    def refuse(self, equation: Any, what: str) -> PortError:
        """Return the error for an equation that has no canonical form."""
        return self.builder.refuse(f"{self.place(equation)}: {equation.primitive.name}", what)

    def settle(self, item: Item, where: str) -> Seen:
        """Return an item as a value of the network; ``where`` it is needed, for messages."""
        if isinstance(item, Seen):
            return item
        if isinstance(item, Formula):
            return settle(self, item)
        if isinstance(item, Known):
            shape = tuple(np.shape(item.array))
            raise self.builder.refuse(where, f"takes a constant array {shape} of no known layer")
        if item.settled is None:
            item.settled = self._part(item, where)
        return item.settled

    def _part(self, item: Part, where: str) -> Seen:
        """What a part is where nothing more comes of it."""
        if item.what in ("steps", "last step", "cell"):
            return self._state(item, where)
        if item.what == "sum":
            mean, count = self.mean(item, where), float(prod(self.sizes(item)))
            value = self.builder.add(spec.Rescale(count), [mean.value], where)
            return replace(mean, value=value)
        if item.what == "max":
            return self._largest(item, where)
        raise self.builder.refuse(where, f"takes {WORDS[item.what]}, which has no canonical form")

    # --- the model's layers ----------------------------------------------------------------------

    def layer(self, equation: Any, given: Item) -> list[Item]:
        """Add a main layer of the model's."""
        number = equation.params["number"]
        call = self.calls[number]
        path = call.leaf.path
        reason = calls.refusal(call)
        if reason:
            raise self.builder.refuse(path, reason)
        x = self.settle(given, path)
        if call.leaf.kind in RECURRENT:
            return self._recurrent(equation, x, number)
        before = self.builder.shape(x.value)
        layer = self._layer_of(call, before, without(equation.outvars[0].aval.shape, x.batch))
        seen = Seen(self._add(layer, x, call), x.batch)
        self.found[number] = (seen, 0)
        return [seen]

    def _layer_of(self, call: Call, before: Shape, after: Shape) -> Any:
        try:
            return calls.layer_of(call, before, after)
        except (PortError, NetworkError) as error:
            raise self.builder.refuse(call.leaf.path, str(error)) from None

    def _add(self, layer: spec.Layer, x: Seen, call: Call) -> Value:
        """Add a layer with its arrays."""
        builder, path = self.builder, call.leaf.path
        slides = isinstance(layer, (spec.Conv, spec.ConvTranspose))
        if x.batch and (slides or x.batch == len(call.shape) - 1):
            raise builder.refuse(path, "takes the batch for another axis")
        arrays = calls.origins(call, layer)
        if isinstance(layer, spec.Dense):
            kernel, bias = arrays["kernel"], arrays.get("bias")
            return builder.dense(x.value, layer.units, path, kernel, bias, shared=path)
        if isinstance(layer, (spec.Conv, spec.ConvTranspose)):
            return builder.windowed(layer, x.value, path, arrays, shared=path)
        if isinstance(layer, spec.BatchNorm):
            return builder.batch_norm(layer, x.value, path, arrays, -1, shared=path)
        return builder.add(layer, [x.value], path, arrays, shared=path if arrays else None)

    def _recurrent(self, equation: Any, x: Seen, number: int) -> list[Item]:
        """All states and the last one; which of them is used, is seen later.

        A module gives its states, or a carry before them: (cell, hidden), or the hidden state.
        """
        count, call = len(equation.outvars), self.calls[number]
        words = ("cell", "last step", "steps")[-count:]
        return [Part(word, x, params=(number, call, at)) for at, word in enumerate(words)]

    def _state(self, item: Part, where: str) -> Seen:
        """Add a recurrent layer that gives all its states, or the last."""
        number, call, at = item.params
        x, path, sequences = item.of, call.leaf.path, item.what == "steps"
        if item.what == "cell":
            raise self.builder.refuse(where, f"takes the cell state of {path}: no canonical form")
        if number in self.found:
            raise self.builder.refuse(where, f"takes both all states of {path} and the last one")
        if sequences and call.option("reverse") and not call.option("keep_order"):
            raise self.builder.refuse(path, "gives its states in reverse; set keep_order=True")
        if x.batch != int(bool(call.option("time_major"))):
            raise self.builder.refuse(path, "takes the batch for the time")
        layer = replace(self._layer_of(call, (), ()), sequences=sequences)
        value = self.builder.add(layer, [x.value], path, calls.origins(call, layer), shared=path)
        seen = Seen(value, x.batch if sequences else 0)
        self.found[number] = (seen, at)
        return seen

    # --- means, maxima ---------------------------------------------------------------------------

    def sizes(self, item: Part) -> Shape:
        """Return the sizes of the axes that a part is over."""
        shape = list(self.builder.shape(item.of.value))
        shape.insert(item.of.batch, BATCH)
        return tuple(shape[axis] for axis in item.axes)

    def _over(self, item: Part, where: str) -> tuple[int, ...]:
        """The axes that a part is over, without the batch."""
        if item.of.batch in item.axes:
            raise self.builder.refuse(where, "mixes the examples of a batch")
        return tuple(axis - (axis > item.of.batch) for axis in item.axes)

    def mean(self, item: Part, where: str) -> Seen:
        """Add the mean over some axes."""
        axes, batch = self._over(item, where), item.of.batch
        batch -= 0 if item.keep else sum(axis < batch for axis in item.axes)
        return Seen(self.builder.mean(item.of.value, axes, item.keep, where), batch)

    def _largest(self, item: Part, where: str) -> Seen:
        """Add the maximum over height and width."""
        sizes, axes = self.builder.shape(item.of.value), self._over(item, where)
        if len(sizes) != 3 or sorted(axes) != [0, 1] or item.of.batch:
            raise self.builder.refuse(where, f"takes the maximum over axes {axes} of {sizes}")
        window = (sizes[0], sizes[1])
        value = self.builder.windowed(spec.MaxPool(window, window), item.of.value, where)
        return Seen(value if item.keep else self.builder.flatten(value, where))

    def average(self, part: Part, counts: np.ndarray, where: str) -> Seen:
        """Add the pooling that sums under a window make, divided by their counts."""
        return average(self, part, counts, where)


_NOT_THE_USERS = tuple(str(Path(str(own.__file__)).parent) for own in (jax, flax, calls))


# --- programs ------------------------------------------------------------------------------------


def _operands(equation: Any) -> Sequence[Any]:
    """What an equation depends on; of a layer's what went in, not what was computed of it."""
    return equation.invars[:1] if equation.primitive.name == "layer" else equation.invars


def _needed(program: Any) -> Iterator[Any]:
    """The equations that the outputs depend on, in order."""
    wanted = {var for var in program.outvars if not isinstance(var, Literal)}
    kept = []
    for equation in reversed(program.eqns):
        if wanted & set(equation.outvars):
            kept.append(equation)
            wanted |= {var for var in _operands(equation) if not isinstance(var, Literal)}
    return reversed(kept)


def _item(env: dict[Any, Item], var: Any) -> Item:
    return Known(var.val) if isinstance(var, Literal) else env[var]


def _inner(equation: Any) -> Any:
    """The program that an equation calls, once and with its own operands; None for others."""
    if equation.primitive.name not in _CALLS:
        return None
    params = equation.params
    return next(params[key] for key in ("jaxpr", "call_jaxpr", "fun_jaxpr") if key in params)


_CALLS = (
    *("jit", "pjit", "closed_call", "core_call", "remat", "remat2", "checkpoint"),
    *("custom_jvp_call", "custom_vjp_call", "custom_vjp_call_jaxpr"),
)
