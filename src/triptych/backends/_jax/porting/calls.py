"""A Flax model's main layers while it runs: which was called on what, and which layer that is.

Each call of a known module is marked in the traced program by one equation of its own, so that
``graph.py`` sees the module and not what it computes with. Files and optimizers don't belong here.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.extend.core import Primitive

from triptych.backends._jax import native_layers
from triptych.backends.carried import Origin
from triptych.backends.native_parts import RECURRENT, Leaf, Shape
from triptych.errors import PortError
from triptych.spec import layers as spec
from triptych.spec.layers.convolution import extent

MARK = Primitive("layer")
"""Its operands are a module's input and what the module gave; it returns the latter."""
MARK.multiple_results = True
MARK.def_abstract_eval(lambda x, *outputs, number: list(outputs))

MODES = {
    **dict.fromkeys(("training", "train", "is_training"), False),
    **dict.fromkeys(("deterministic", "use_running_average"), True),
}
"""Arguments by which models are told the mode, and whether they mean its opposite."""


@dataclass
class Call:
    """One call of a main layer.

    Attributes:
        leaf: which layer.
        module: the live module.
        said: the arguments besides the input, by name.
        shape: of the input, the batch among its axes.
        outputs: the arrays it gave, most often one.
    """

    leaf: Leaf
    module: Any
    said: Mapping[str, Any]
    shape: Shape
    outputs: list[Any] = field(default_factory=list)

    def option(self, name: str) -> Any:
        """An argument of the call, or else the module's own."""
        value = self.said.get(name)
        return getattr(self.module, name, None) if value is None else value


def twin(model: Any, dtype: Any) -> Any:
    """Return a copy of a module in inference mode that computes in another real type."""
    copy = nnx.clone(model)
    for _, module in nnx.iter_modules(copy):
        for attribute in ("dtype", "param_dtype"):
            own = getattr(module, attribute, None)
            if own is not None and jnp.issubdtype(own, jnp.floating):
                setattr(module, attribute, jnp.dtype(dtype))
    copy.eval()
    return copy


def modes(model: Any) -> dict[str, bool]:
    """Return the arguments that tell a model the mode, and whether they mean the opposite."""
    taken = inspect.signature(type(model).__call__).parameters
    return {name: opposite for name, opposite in MODES.items() if name in taken}


def known(model: Any) -> dict[str, Leaf]:
    """Return the main layers of a module by path, those that return their carry among them."""
    returning = [m for _, m in nnx.iter_modules(model) if isinstance(m, nnx.RNN) and m.return_carry]
    for module in returning:
        module.return_carry = False
    try:
        return native_layers.leaves(model, set())
    finally:
        for module in returning:
            module.return_carry = True


@contextmanager
def watched(
    model: Any, leaves: Mapping[str, Leaf], marked: bool = True, drop: bool = True
) -> Iterator[list[Call]]:
    """Note every call of the model's main layers, in order; with ``marked`` also in the trace.

    Without ``drop`` dropout leaves everything as it is, whatever the mode.
    """
    paths = native_layers.modules(model)
    found = {id(module): leaves[path] for path, module in paths.items() if path in leaves}
    owners = {type(module) for path, module in paths.items() if path in leaves}
    before = [(owner, owner.__dict__.get("__call__")) for owner in owners]
    notes = _Notes(found, marked, drop)
    for owner in owners:
        owner.__call__ = notes.around(owner.__call__)
    try:
        yield notes.calls
    finally:
        for owner, call in before:
            if call is None:
                del owner.__call__
            else:
                owner.__call__ = call


class _Notes:
    """The calls of one run; a main layer inside another one is none."""

    def __init__(self, leaves: Mapping[int, Leaf], marked: bool, drop: bool) -> None:
        self.leaves, self.marked, self.drop = leaves, marked, drop
        self.calls: list[Call] = []
        self.inside = False

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Return a ``__call__`` that notes."""
        signature = inspect.signature(function)

        def noting(module: Any, *args: Any, **options: Any) -> Any:
            leaf = self.leaves.get(id(module))
            if leaf is None or self.inside:
                return function(module, *args, **options)
            _, (_, x), *rest = signature.bind(module, *args, **options).arguments.items()
            said = dict(rest)
            said |= said.pop("options", {}) | said.pop("kwargs", {})
            run = partial(function, module, *args, **options)
            return self.note(Call(leaf, module, said, np.shape(x)), x, run)

        return noting

    def note(self, call: Call, x: Any, run: Callable[[], Any]) -> Any:
        """Note a call and mark what it gives."""
        self.calls.append(call)
        number, self.inside = len(self.calls) - 1, True
        try:
            result = x if call.leaf.kind == "dropout" and not self.drop else run()
        finally:
            self.inside = False
        call.outputs, tree = jax.tree.flatten(result)
        if not self.marked:
            return result
        return jax.tree.unflatten(tree, MARK.bind(x, *call.outputs, number=number))


# --- from a call to a layer ----------------------------------------------------------------------

_CHANGES = ("mask", "axis_name", "initial_carry", "seq_lengths", "input_dilation")
"""Options that change what a layer computes and have no word in the spec."""


def refusal(call: Call) -> str | None:
    """Return why a call has no canonical form, if it has none."""
    leaf, module = call.leaf, call.module
    if leaf.kind == "unknown":
        own = leaf.options((), ())["kind"].removeprefix("unknown ").strip("()")
        return f"is a {own} with arrays of its own, which has no canonical form"
    said = [name for name in _CHANGES if _says(call.option(name))]
    if leaf.kind in ("batch_norm", "layer_norm"):
        last = [getattr(module, name, -1) for name in ("axis", "reduction_axes", "feature_axes")]
        said += [f"axes {axis}" for axis in last if axis not in (-1, (-1,), len(call.shape) - 1)]
    if leaf.kind == "dropout" and module.broadcast_dims:
        said.append("broadcast_dims")
    if leaf.kind in ("conv", "conv_transpose") and len(module.kernel_size) != 2:
        said.append(
            f"kernel_size {tuple(module.kernel_size)}, which slides over other than two axes"
        )
    return f"has {said[0]}, which has no canonical form" if said else None


def _says(value: Any) -> bool:
    return value is not None and value not in (1, (1,), (1, 1))


def layer_of(call: Call, before: Shape, after: Shape) -> spec.Layer:
    """Return the layer of a call, whose shapes are given without the batch.

    Raises:
        PortError: an option has no canonical form; the text is the reason alone.
    """
    leaf, module = call.leaf, call.module
    options = dict(leaf.options(before, after))
    if leaf.kind == "conv_transpose" and not isinstance(module.padding, str):
        options["padding"] = _cropped(module)
    if leaf.kind == "batch_norm":
        options["unbiased"] = _unbiased(module)
    if leaf.kind in RECURRENT:
        options |= {"reverse": bool(call.option("reverse"))}
    padding = options.get("padding")
    if isinstance(padding, str) and padding not in ("same", "valid"):
        raise PortError(f"has padding {padding!r}, which has no canonical form")
    if padding == ((0, 0), (0, 0)):
        options["padding"] = "valid"
    return spec.LAYERS[leaf.kind](**options)


def _cropped(module: Any) -> Any:
    """What explicit padding of a transposed convolution leaves of the full output's edges."""
    span = extent(tuple(module.kernel_size), tuple(_pair(module.kernel_dilation)))
    pads = [pad if isinstance(pad, (tuple, list)) else (pad, pad) for pad in _pair(module.padding)]
    return tuple((s - 1 - low, s - 1 - high) for s, (low, high) in zip(span, pads, strict=True))


def _pair(value: Any) -> tuple[Any, Any]:
    if value is None:
        return (1, 1)
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _unbiased(module: Any) -> bool:
    """Whether a batch norm of the user's own moves its statistics by the unbiased variance."""
    if type(module).__call__ is nnx.BatchNorm.__call__:
        return False
    copy = nnx.clone(module)
    size = np.size(copy.var[...])
    x = jnp.asarray(np.outer([1.0, -1.0], np.ones(size)), copy.var[...].dtype)
    kept = np.asarray(copy.momentum * copy.var[...])
    copy(x, use_running_average=False)
    moved = (np.asarray(copy.var[...]) - kept) / (1.0 - copy.momentum)
    return bool(np.allclose(moved, 2.0, rtol=1e-3))


def origins(call: Call, layer: spec.Layer) -> dict[str, Origin]:
    """Return where a layer's arrays come from; the key is the path with dots, or empty where the
    module has none and the layer a constant."""
    found = {
        local: Origin(key_of(place.handle), place.to_canonical)
        for local, place in call.leaf.places.items()
    }
    if layer.kind in ("batch_norm", "layer_norm"):
        size = call.shape[-1]
        found = {"scale": _constant(size, 1.0), "offset": _constant(size, 0.0)} | found
    return found


def _constant(size: int, value: float) -> Origin:
    return Origin("", lambda array: np.full(size, value, array.dtype))


def key_of(path: Any) -> str:
    """``("layers", 0, "kernel")`` -> ``layers.0.kernel``."""
    return ".".join(map(str, path))
