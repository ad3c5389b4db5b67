"""Update rules as text: the Keras optimizer as one writes it by hand.

Keras' own compute SGD without momentum, and RMSprop and Adagrad with epsilon inside the root. Its
momentum has the rate inside the buffer, and its Adam adds epsilon before the bias correction and
takes it in float32; those formulas become a class of their own. The live optimizers are in
``rules.py``.
"""

from __future__ import annotations

import numpy as np

from triptych.backends import rule_sourcing as words
from triptych.backends.sourcing import assemble, fold
from triptych.backends.templating import fill
from triptych.spec.rules import SGD, Adagrad, Adam, RMSprop, Rule

_CLASS = '''
class {{name}}(keras.optimizers.Optimizer):
    """{{about}}

{{formula}}
    """

{{signature}}
        super().__init__(learning_rate=learning_rate, **options)
{{kept}}

    def build(self, variables: list) -> None:    #if slots
        """Make the optimizer's own variables, {{count}} for each of the model's."""    #if slots
        if self.built:    #if slots
            return    #if slots
        super().build(variables)    #if slots
{{made}}    #if slots
    #if slots
    def update_step(
        self, gradient: tf.Tensor, variable: keras.Variable, learning_rate: tf.Tensor
    ) -> None:
        """Change one variable."""
        place = self._get_variable_index(variable)    #if slots
        rate, g = ops.cast(learning_rate, variable.dtype), gradient
        g = g + self.l2 * variable    #if l2
{{body}}

    def get_config(self) -> dict:
        """Return the constants."""
        names = {{names}}
        return super().get_config() | {name: getattr(self, name) for name in names}
'''

_SGD = """
        m = self.momentum * self.momentums[place] + g    #if momentum
        self.momentums[place].assign(m)    #if momentum
        variable.assign_sub(rate * g)    #if not momentum
        variable.assign_sub(rate * m)    #if momentum, not nesterov
        variable.assign_sub(rate * (g + self.momentum * m))    #if nesterov
"""
_RMSPROP = """
        v = self.decay * self.second_moments[place] + (1.0 - self.decay) * ops.square(g)
        self.second_moments[place].assign(v)
        a = self.decay * self.first_moments[place] + (1.0 - self.decay) * g    #if centered
        self.first_moments[place].assign(a)    #if centered
        v = v - ops.square(a)    #if centered
        step = g / ops.sqrt(v + self.epsilon)    #if inside
        step = g / (ops.sqrt(v) + self.epsilon)    #if outside
        step = self.momentum * self.momentums[place] + step    #if momentum
        self.momentums[place].assign(step)    #if momentum
        variable.assign_sub(rate * step)
"""
_ADAGRAD = """
        s = self.accumulators[place] + ops.square(g)
        self.accumulators[place].assign(s)
        variable.assign_sub(rate * g / ops.sqrt(s + self.epsilon))    #if inside
        variable.assign_sub(rate * g / (ops.sqrt(s) + self.epsilon))    #if outside
"""
_ADAM = """
        m = self.beta1 * self.first_moments[place] + (1.0 - self.beta1) * g
        v = self.beta2 * self.second_moments[place] + (1.0 - self.beta2) * ops.square(g)
        self.first_moments[place].assign(m)
        self.second_moments[place].assign(v)
        short1, short2 = self.short(self.beta1, g.dtype), self.short(self.beta2, g.dtype)
        step = ops.sqrt(short2) / short1 * m / (ops.sqrt(v) + self.epsilon)    #if before
        step = (m / short1) / ops.sqrt(v / short2 + self.epsilon)    #if inside
        step = (m / short1) / (ops.sqrt(v / short2) + self.epsilon)    #if outside
        step = step + self.decoupled_decay * variable    #if decoupled
        variable.assign_sub(rate * step)

    def short(self, beta: float, dtype: tf.DType) -> tf.Tensor:
        \"\"\"Return 1 - beta^t, taken in float64: float32 would lose four digits of it.\"\"\"
        t = tf.cast(self.iterations + 1, tf.float64)
        return tf.cast(1.0 - tf.pow(tf.constant(beta, tf.float64), t), dtype)
"""
_BODIES = {"SGD": _SGD, "RMSprop": _RMSPROP, "Adagrad": _ADAGRAD, "Adam": _ADAM, "AdamW": _ADAM}
_ABOUT = {
    "SGD": "SGD with momentum and the rate outside the buffer; Keras has it inside.",
    "Adam before": "{} as Keras' own, whose bias correction is rounded to float32.",
    "Adam inside": "{} with epsilon inside the root; Keras adds it before the bias correction.",
    "Adam outside": "{} with epsilon as in the paper; Keras adds it before the bias correction.",
    "outside": "{} with epsilon outside the root, as in PyTorch; Keras has it inside.",
    "momentum": "{} with momentum and the rate outside the buffer; Keras has it inside.",
    "initial": "{} with its first sum as it is given; Keras rounds it to float32.",
    "l2": "{} with an l2 in the gradients; Keras' weight_decay is decoupled.",
}
_IMPORTS = (
    (r"\bmath\.", "import math\n"),
    ("", "import keras"),
    (r"\btf\.", "import tensorflow as tf"),
    (r"\bops\.", "from keras import ops"),
)


def write_rule(rule: Rule) -> str:
    """Return the text that defines ``make_optimizer(model)``, its imports first.

    The optimizer clips by itself. Where the rate is scheduled, ``rate(update)`` comes with it,
    counted from 0, to be assigned to the optimizer's ``learning_rate`` before each update. For
    float64 ``keras.config.set_floatx`` must have been called.
    """
    words.check(rule, "keras")
    native = _native(rule)
    call = native or words.title(rule) + _arguments(_constants(rule), rule)
    lines = [
        "def make_optimizer(model: keras.Model) -> keras.optimizers.Optimizer:",
        f'    """{words.describe(rule)}"""',
        *fold(f"    optimizer = {call}"),
        "    optimizer.build(model.trainable_variables)",
        "    return optimizer",
    ]
    parts = [words.rate_function(rule)] if words.is_scheduled(rule) else []
    parts += [_class(rule)] if native is None else []
    return assemble(_IMPORTS, {}, ["\n\n\n".join([*parts, "\n".join(lines)])])


def _native(rule: Rule) -> str | None:
    """The call of Keras' own optimizer that has the rule's formula, None where there is none."""
    if rule.l2:
        return None
    if isinstance(rule, SGD) and not rule.momentum:
        return f"keras.optimizers.SGD{_arguments({'momentum': 0.0}, rule)}"
    if isinstance(rule, RMSprop) and rule.epsilon_inside_root and not rule.momentum:
        own = {"rho": rule.decay, "momentum": 0.0, "epsilon": rule.epsilon}
        return f"keras.optimizers.RMSprop{_arguments(own | {'centered': rule.centered}, rule)}"
    if isinstance(rule, Adagrad) and rule.epsilon_inside_root and _is_float32(rule.initial):
        own = {"initial_accumulator_value": rule.initial, "epsilon": rule.epsilon}
        return f"keras.optimizers.Adagrad{_arguments(own, rule)}"
    return None


def _is_float32(value: float) -> bool:
    """Whether a value survives Keras' initialisers, which round it."""
    return float(np.float32(value)) == value


def _arguments(own: dict[str, float], rule: Rule) -> str:
    """The arguments of an optimizer: the rate, its own, and Keras' clipping."""
    limits = rule.clip
    clips = {
        "clipvalue": limits.value,
        "clipnorm": limits.norm,
        "global_clipnorm": limits.global_norm,
    }
    given = {"learning_rate": rule.rate.value(0)} | own
    given |= {name: limit for name, limit in clips.items() if limit is not None}
    return f"({', '.join(f'{name}={value!r}' for name, value in given.items())})"


def _class(rule: Rule) -> str:
    name, flags = words.title(rule), words.flags(rule)
    own = _constants(rule)
    body, extra = fill(_BODIES[name], {}, flags), {"slots"} if rule.slots else set()
    quoted = ", ".join(f'"{key}"' for key in own)
    values = {
        "name": name,
        "about": _about(rule).format(name),
        "formula": "\n".join(f"    {line}" for line in words.formula(rule)),
        "signature": _signature(own),
        "kept": "\n".join(f"        self.{key} = {key}" for key in own),
        "count": "one" if len(rule.slots) == 1 else str(len(rule.slots)),
        "made": "\n".join(part for slot in rule.slots for part in _slot(slot, rule)),
        "body": body,
        "names": f"({quoted},)" if len(own) == 1 else f"({quoted})",
    }
    return fill(_CLASS, values, flags | extra)


def _constants(rule: Rule) -> dict[str, float]:
    """The constants of the rule's own class; ``weight_decay`` is Keras' own word for something."""
    found = words.constants(rule)
    decay = {"decoupled_decay": found.pop("weight_decay")} if "weight_decay" in found else {}
    if not found.get("initial", 1.0):
        del found["initial"]
    return found | decay


def _signature(own: dict[str, float]) -> str:
    given = [*(f"{name}: float" for name in own), "**options"]
    arguments = ["self", "learning_rate: float", *given]
    return "\n".join(words.bracketed("    def __init__(", arguments, ") -> None:"))


def _slot(slot: str, rule: Rule) -> list[str]:
    """The lines that make a slot's variables, in the plural: ``self.momentums``."""
    made = f'self.add_variable_from_reference(v, "{slot}") for v in variables'
    lines = words.bracketed(f"        self.{slot}s = [", [made], "]", last="")
    if not getattr(rule, "initial", 0.0):
        return lines
    return [
        *lines,
        f"        for variable in self.{slot}s:",
        "            variable.assign(self.initial * ops.ones_like(variable))",
    ]


def _about(rule: Rule) -> str:
    if isinstance(rule, Adam):
        return _ABOUT[f"Adam {words.epsilon_place(rule)}"]
    if isinstance(rule, SGD):
        return _ABOUT["SGD" if rule.momentum else "l2"]
    if words.epsilon_place(rule) == "outside":
        return _ABOUT["outside"]
    if getattr(rule, "momentum", 0.0):
        return _ABOUT["momentum"]
    return _ABOUT["l2" if rule.l2 else "initial"]
