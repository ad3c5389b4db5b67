"""Which of PyTorch's operations is which activation, sum, product or head.

Layers with arrays are in ``layers.py``.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from triptych.backends._torch.porting.calls import (
    Array,
    Call,
    Handler,
    Mean,
    Part,
    Product,
    Seen,
    refuse,
)
from triptych.spec import layers as spec
from triptych.spec.layers import Layer

if TYPE_CHECKING:
    from triptych.backends._torch.porting.graph import Walk

# --- one number after the other ------------------------------------------------------------------


def _simple(layer: Layer) -> Handler:
    return lambda walk, call: _apply(walk, call, layer)


def _apply(walk: Walk, call: Call, layer: Layer, seen: Seen | None = None) -> Seen:
    seen = seen or walk.seen(call)
    return walk.fresh(walk.builder.add(layer, [seen.value], call.place), seen.batch)


def _clamp(walk: Walk, call: Call) -> Seen:
    low = call.given.get("min", call.given.get("min_val"))
    high = call.given.get("max", call.given.get("max_val"))
    layers = {(0, 6): spec.ReLU6(), (0, None): spec.ReLU()}
    if (low, high) not in layers:
        raise refuse(walk, call, f"holds within {low} and {high}, which has no canonical form")
    return _apply(walk, call, layers[low, high])


def _elu(walk: Walk, call: Call) -> Seen:
    if (call["scale"], call["input_scale"]) != (1, 1):
        raise refuse(walk, call, "has a scale, which has no canonical form")
    return _apply(walk, call, spec.ELU(float(call["alpha"])))


def _gelu(walk: Walk, call: Call) -> Seen:
    return _apply(walk, call, spec.GELU(call["approximate"] == "tanh"))


def _softplus(walk: Walk, call: Call) -> Seen:
    # Above the threshold PyTorch returns x, which is exact in float64 from 37 on.
    if call["beta"] != 1 or call["threshold"] < 37:
        raise refuse(
            walk, call, f"beta is {call['beta']} and x is returned from {call['threshold']} on; "
            "the canonical one is exact everywhere: use beta 1 and a threshold of 37 or more",
        )  # fmt: skip
    return _apply(walk, call, spec.Softplus())


def _hardswish(walk: Walk, call: Call) -> Seen:
    seen = walk.seen(call)
    gate = _apply(walk, call, spec.HardSigmoid(1 / 6), seen)
    value = walk.builder.add(spec.Multiply(), [seen.value, gate.value], call.place)
    return walk.fresh(value, seen.batch)


def _softmax(layer: Layer) -> Handler:
    def handle(walk: Walk, call: Call) -> Seen:
        seen = walk.seen(call)
        axis = walk.axis(call, seen, call["dim"])
        return walk.fresh(walk.builder.along(layer, seen.value, axis, call.place), seen.batch)

    return handle


def _dropout(walk: Walk, call: Call) -> Seen:
    seen, rate = walk.seen(call, "input"), float(call["p"])
    if call.name.startswith("dropout"):
        return replace(_apply(walk, call, spec.Dropout(rate), seen), memory=seen.memory)
    walk.notes.append(
        f"{call.place}: {call.name} of whole channels or to other values than 0 has no canonical "
        "form and was left out, which training would notice"
    )
    return seen


# --- arithmetic ----------------------------------------------------------------------------------


def _number(found: Any) -> float | None:
    if isinstance(found, (int, float)):
        return float(found)
    return found.number if isinstance(found, Array) else None


def _scaled(walk: Walk, call: Call, found: Any, scale: float, offset: float = 0.0) -> Seen:
    seen = walk.as_seen(call, found)
    if (scale, offset) == (1.0, 0.0):
        return seen
    return _apply(walk, call, spec.Rescale(scale, offset), seen)


def _add(walk: Walk, call: Call) -> Any:
    """``self + alpha * other``, and with a sign for differences."""
    left, right = call["self"], call["other"]
    sign = -1.0 if call.name.startswith("sub") else 1.0
    sign *= float(call.given.get("alpha", 1))
    number = _number(right)
    if number is not None:
        return _scaled(walk, call, left, 1.0, sign * number)
    if (number := _number(left)) is not None:
        return _scaled(walk, call, right, sign, number)
    if sign == 1.0:
        for one, other in ((left, right), (right, left)):
            if isinstance(one, Product) and isinstance(other, Array) and len(other.shape) == 1:
                return one.settled(walk, other)
    head = _dueling(walk, call, left, right, sign)
    if head is not None:
        return head
    return _merge(walk, call, spec.Add(), left, _scaled(walk, call, right, sign))


def _dueling(walk: Walk, call: Call, left: Any, right: Any, sign: float) -> Any:
    """A part of ``value + advantage - mean(advantage)``, or the whole; None for anything else."""
    if sign == -1.0 and isinstance(right, Mean):
        if isinstance(left, Part) and left.advantage == right.of and left.value is not None:
            return _head(walk, call, left.value, left.advantage)
        if left == right.of:
            return Part(None, right.of)
    if sign != 1.0:
        return None
    for one, other in ((left, right), (right, left)):
        if isinstance(other, Part) and other.value is None and isinstance(one, Seen):
            return _head(walk, call, one, other.advantage)
        if isinstance(one, Seen) and isinstance(other, Seen):
            shapes = walk.shape(one), walk.shape(other)
            if shapes[0] == (1,) and len(shapes[1]) == 1 and shapes[1] != (1,):
                return Part(one, other)
    return None


def _head(walk: Walk, call: Call, value: Seen, advantage: Seen) -> Seen:
    values = [value.value, advantage.value]
    return walk.fresh(walk.builder.add(spec.Dueling(), values, call.place))


def _rsub(walk: Walk, call: Call) -> Any:
    swapped = {"self": call["other"], "other": call["self"], "alpha": call["alpha"]}
    return _add(walk, replace(call, name="sub", given=swapped))


def _mul(walk: Walk, call: Call) -> Seen:
    left, right = call["self"], call["other"]
    for one, other in ((left, right), (right, left)):
        if (number := _number(other)) is not None:
            return _scaled(walk, call, one, number)
    return _merge(walk, call, spec.Multiply(), left, right)


def _div(walk: Walk, call: Call) -> Seen:
    number = _number(call["other"])
    if number is None or call.given.get("rounding_mode"):
        raise refuse(walk, call, "divides by a computed tensor, which has no canonical form")
    return _scaled(walk, call, call["self"], 1.0 / number)


def _merge(walk: Walk, call: Call, layer: Layer, *found: Any) -> Seen:
    seens = [walk.as_seen(call, one) for one in found]
    if len({(seen.batch, len(seen.value.axes)) for seen in seens}) > 1:
        shapes = " and ".join(str(walk.shape(seen)) for seen in seens)
        raise refuse(walk, call, f"broadcasts {shapes}, which has no canonical form")
    value = walk.builder.add(layer, [seen.value for seen in seens], call.place)
    return walk.fresh(value, seens[0].batch)


def _cat(walk: Walk, call: Call) -> Seen:
    seens = [walk.as_seen(call, one) for one in call["tensors"]]
    if len({(seen.batch, len(seen.value.axes)) for seen in seens}) > 1:
        raise refuse(walk, call, "joins tensors with the batch on different axes")
    axis = walk.axis(call, seens[0], call["dim"])
    value = walk.builder.concatenate([seen.value for seen in seens], axis, call.place)
    return walk.fresh(value, seens[0].batch)


HANDLERS: dict[str, Handler] = {
    "relu": _simple(spec.ReLU()),
    "relu6": _simple(spec.ReLU6()),
    **dict.fromkeys(("hardtanh", "clamp", "clamp_min"), _clamp),
    "leaky_relu": lambda walk, call: _apply(
        walk, call, spec.LeakyReLU(float(call["negative_slope"]))
    ),
    "elu": _elu,
    "selu": _simple(spec.SELU()),
    "gelu": _gelu,
    "silu": _simple(spec.SiLU()),
    "sigmoid": _simple(spec.Sigmoid()),
    "hardsigmoid": _simple(spec.HardSigmoid(1 / 6)),
    "hardswish": _hardswish,
    "tanh": _simple(spec.Tanh()),
    "softplus": _softplus,
    **dict.fromkeys(("softmax", "_softmax"), _softmax(spec.Softmax())),
    **dict.fromkeys(("log_softmax", "_log_softmax"), _softmax(spec.LogSoftmax())),
    **dict.fromkeys(
        ("dropout", "feature_dropout", "alpha_dropout", "feature_alpha_dropout"), _dropout
    ),
    **dict.fromkeys(("add", "sub"), _add),
    "rsub": _rsub,
    "mul": _mul,
    "div": _div,
    "neg": lambda walk, call: _scaled(walk, call, call["self"], -1.0),
    **dict.fromkeys(("cat", "concat"), _cat),
}
"""Those in place have the same name with an underscore after it."""
HANDLERS |= {f"{name}_": handler for name, handler in HANDLERS.items()}
