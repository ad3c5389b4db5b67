"""Update rules as Keras optimizers, and clipping.

Keras' own optimizers put epsilon before Adam's correction, the rate inside the momentum buffer, and
constants through float32; only the base class is used, and the formulas are written out.
"""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from triptych.spec.rules import SGD, Adagrad, Adam, AdamW, Clip, RMSprop, Rule


class Pinned(keras.optimizers.Optimizer):
    """Base of all rules. ``constants`` are those of the spec's rule, by the same names."""

    def __init__(self, rule: Rule) -> None:
        super().__init__(learning_rate=rule.rate.value(0), name=rule.name)
        self.constants = rule.factors()
        self.slot_names = rule.slots
        self.slot_variables: dict[str, list[Any]] = {}

    def build(self, variables: list[Any]) -> None:
        """Create the slots of every variable."""
        if self.built:
            return
        super().build(variables)
        start = "zeros" if not self.constants.get("initial") else "ones"
        for slot in self.slot_names:
            self.slot_variables[slot] = [
                self.add_variable_from_reference(variable, slot, initializer=start)
                for variable in variables
            ]
        for variable in self.slot_variables.get("accumulator", []):
            variable.assign(
                tf.fill(variable.shape, tf.constant(self.constants["initial"], variable.dtype))
            )

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Change one variable in place."""
        place = self._get_variable_index(variable)
        slots = {name: variables[place] for name, variables in self.slot_variables.items()}
        if self.constants["l2"]:
            gradient = gradient + self.constants["l2"] * variable
        self.change(variable, gradient, slots, learning_rate)

    def change(self, variable: Any, gradient: Any, slots: dict[str, Any], rate: Any) -> None:
        """Change one variable in place, given its slots."""
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The constants."""
        return super().get_config() | self.constants


class PinnedSGD(Pinned):
    """Momentum with the rate outside the buffer."""

    def change(self, variable: Any, gradient: Any, slots: dict[str, Any], rate: Any) -> None:
        """m = momentum m + g; p -= r m, or r (g + momentum m) with Nesterov."""
        momentum = self.constants["momentum"]
        step = gradient
        if momentum:
            buffer = momentum * slots["momentum"] + gradient
            slots["momentum"].assign(buffer)
            step = gradient + momentum * buffer if self.constants["nesterov"] else buffer
        variable.assign_sub(rate * step)


class PinnedAdam(Pinned):
    """Adam and AdamW with epsilon in any of its three places."""

    def change(self, variable: Any, gradient: Any, slots: dict[str, Any], rate: Any) -> None:
        """The formulas of :class:`triptych.spec.rules.Adam`."""
        own = self.constants
        first = own["beta1"] * slots["first_moment"] + (1.0 - own["beta1"]) * gradient
        second = own["beta2"] * slots["second_moment"] + (1.0 - own["beta2"]) * tf.square(gradient)
        slots["first_moment"].assign(first)
        slots["second_moment"].assign(second)
        short1, short2 = (self._short(own[beta], gradient.dtype) for beta in ("beta1", "beta2"))
        if own["epsilon_before_correction"]:
            step = tf.sqrt(short2) / short1 * first / (tf.sqrt(second) + own["epsilon"])
        elif own["epsilon_inside_root"]:
            step = first / short1 / tf.sqrt(second / short2 + own["epsilon"])
        else:
            step = first / short1 / (tf.sqrt(second / short2) + own["epsilon"])
        if own.get("weight_decay"):
            step = step + own["weight_decay"] * variable
        variable.assign_sub(rate * step)

    def _short(self, beta: float, dtype: Any) -> Any:
        """1 - beta^t, in float64: from a float32 power of 0.999 it would lose four digits."""
        power = tf.pow(tf.constant(beta, tf.float64), tf.cast(self.iterations + 1, tf.float64))
        return tf.cast(1.0 - power, dtype)


def _divide(gradient: Any, square: Any, own: dict[str, Any]) -> Any:
    """gradient / (sqrt(square) + epsilon), or gradient / sqrt(square + epsilon)."""
    if own["epsilon_inside_root"]:
        return gradient / tf.sqrt(square + own["epsilon"])
    return gradient / (tf.sqrt(square) + own["epsilon"])


class PinnedRMSprop(Pinned):
    """RMSprop with epsilon on either side of the root."""

    def change(self, variable: Any, gradient: Any, slots: dict[str, Any], rate: Any) -> None:
        """v = decay v + (1 - decay) g^2; p -= r g / root(v)."""
        own = self.constants
        square = own["decay"] * slots["second_moment"] + (1.0 - own["decay"]) * tf.square(gradient)
        slots["second_moment"].assign(square)
        if own["centered"]:
            mean = own["decay"] * slots["first_moment"] + (1.0 - own["decay"]) * gradient
            slots["first_moment"].assign(mean)
            square = square - tf.square(mean)
        step = _divide(gradient, square, own)
        if own["momentum"]:
            step = own["momentum"] * slots["momentum"] + step
            slots["momentum"].assign(step)
        variable.assign_sub(rate * step)


class PinnedAdagrad(Pinned):
    """Adagrad with epsilon on either side of the root."""

    def change(self, variable: Any, gradient: Any, slots: dict[str, Any], rate: Any) -> None:
        """s = s + g^2; p -= r g / root(s)."""
        total = slots["accumulator"] + tf.square(gradient)
        slots["accumulator"].assign(total)
        variable.assign_sub(rate * _divide(gradient, total, self.constants))


_NATIVE: dict[type[Rule], type[Pinned]] = {
    SGD: PinnedSGD,
    Adam: PinnedAdam,
    AdamW: PinnedAdam,
    RMSprop: PinnedRMSprop,
    Adagrad: PinnedAdagrad,
}


def build(rule: Rule, variables: list[Any], dtype: str) -> Pinned:
    """Return the native optimizer of a rule; the compiled step sets its rate.

    Keras keeps the rate in a variable of the global ``floatx``, which is set while it is made.
    """
    before = keras.config.floatx()
    keras.config.set_floatx(dtype)
    try:
        optimizer = _NATIVE[type(rule)](rule)
        optimizer.build(variables)
    finally:
        keras.config.set_floatx(before)
    return optimizer


def clip(grads: list[Any], limits: Clip) -> list[Any]:
    """Return the clipped gradients, exactly as the spec says."""
    if limits.value is not None:
        limit = tf.constant(limits.value, grads[0].dtype)
        return [tf.clip_by_value(grad, -limit, limit) for grad in grads]
    if limits.norm is not None:
        limit = tf.constant(limits.norm, grads[0].dtype)
        return [grad * (limit / tf.maximum(tf.norm(grad), limit)) for grad in grads]
    if limits.global_norm is not None:
        limit = tf.constant(limits.global_norm, grads[0].dtype)
        norm = tf.sqrt(tf.add_n([tf.reduce_sum(tf.square(grad)) for grad in grads]))
        return [grad * (limit / tf.maximum(norm, limit)) for grad in grads]
    return grads
