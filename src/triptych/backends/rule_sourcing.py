"""What the writers of update rules share: their sentences, formulas and schedules.

How a framework says a rule is in each backend's ``rule_source.py``, whose ``write_rule(rule)``
defines ``make_optimizer(model)``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from triptych.backends.sourcing import WIDTH
from triptych.backends.templating import schedule
from triptych.errors import Unsupported
from triptych.spec.rules import SGD, Adagrad, Adam, RMSprop, Rule
from triptych.spec.schedules import Constant


def check(rule: Rule, backend: str) -> None:
    """Raise Unsupported for a rule that has no formula of gradients alone."""
    if type(rule) not in _BUFFERS and not isinstance(rule, Adam):
        raise Unsupported(
            f"backend {backend!r} has no words for the update rule {rule.name!r}; those that can "
            "be written are sgd, adam, adamw, rmsprop and adagrad"
        )


def bracketed(head: str, parts: Sequence[str], tail: str, last: str = ",") -> list[str]:
    """Return ``head``, parts and ``tail`` on one line, or broken as ruff does where it is too long.

    Args:
        head: ends in the opening bracket.
        parts: what stands between commas.
        tail: begins with the closing bracket.
        last: what follows the last part where each has a line of its own.
    """
    margin = " " * (len(head) - len(head.lstrip()))
    inner = ", ".join(parts)
    if len(head + inner + tail) <= WIDTH:
        return [head + inner + tail]
    if len(f"{margin}    {inner}") <= WIDTH:
        return [head, f"{margin}    {inner}", margin + tail]
    each = [f"{margin}    {part}," for part in parts[:-1]]
    return [head, *each, f"{margin}    {parts[-1]}{last}", margin + tail]


def describe(rule: Rule) -> str:
    """Return one sentence on a rule for a docstring."""
    rate = f"rate {rule.rate.start!r}" if isinstance(rule.rate, Constant) else "its rate scheduled"
    decay = f", {rule.l2!r} times the params added to the gradients" if rule.l2 else ""
    return f"{title(rule)}, {rate}{decay}."


def title(rule: Rule) -> str:
    """Return a rule's name as people write it: ``RMSprop``."""
    return type(rule).__name__


def is_scheduled(rule: Rule) -> bool:
    """Return whether the rate changes from update to update."""
    return not isinstance(rule.rate, Constant)


def rate_function(rule: Rule) -> str:
    """Return the text of ``rate(update)``."""
    lines = [
        "def rate(update: int) -> float:",
        '    """Return an update\'s rate, counted from 0."""',
    ]
    return "\n".join([*lines, *(f"    {line}" for line in schedule(rule.rate, "update"))])


def epsilon_place(rule: Rule) -> str:
    """Return where a rule has its epsilon: ``outside`` the root, ``inside``, or ``before``."""
    if isinstance(rule, Adam) and rule.epsilon_before_correction:
        return "before"
    return "inside" if getattr(rule, "epsilon_inside_root", False) else "outside"


def flags(rule: Rule) -> set[str]:
    """Return what a template asks about a rule."""
    asked: Mapping[str, object] = {
        "l2": rule.l2,
        "momentum": getattr(rule, "momentum", 0.0),
        "nesterov": getattr(rule, "nesterov", False),
        "centered": getattr(rule, "centered", False),
        "decoupled": getattr(rule, "weight_decay", 0.0),
        "scheduled": is_scheduled(rule),
        "adam": isinstance(rule, Adam),
        "initial": getattr(rule, "initial", 0.0),
        epsilon_place(rule): True,
    }
    return {name for name, value in asked.items() if value}


def constants(rule: Rule) -> dict[str, float]:
    """Return the constants that a class of the rule's own needs, by the spec's names."""
    always = ("decay", "beta1", "beta2", "epsilon", "initial")
    used = ("momentum", "weight_decay", "l2")
    names = [name for name in always if hasattr(rule, name)]
    return {name: getattr(rule, name) for name in names} | {
        name: getattr(rule, name) for name in used if getattr(rule, name, 0.0)
    }


def formula(rule: Rule) -> list[str]:
    """Return the formula of a rule, a line for each statement."""
    flag = flags(rule)
    lines = ["g += l2 p"] if "l2" in flag else []
    lines += _BUFFERS[next(kind for kind in _BUFFERS if isinstance(rule, kind))](flag)
    if isinstance(rule, Adam):
        lines += ["p -= lr weight_decay p"] if "decoupled" in flag else []
        lines += ["m' = m / (1 - beta1^t); v' = v / (1 - beta2^t)"] if "before" not in flag else []
        return [*lines, f"p -= lr {_ADAM_STEPS[epsilon_place(rule)]}"]
    if isinstance(rule, SGD):
        step = "(g + momentum m)" if "nesterov" in flag else "m" if "momentum" in flag else "g"
        return [*lines, f"p -= lr {step}"]
    root = "v" if isinstance(rule, RMSprop) else "s"
    root = "(v - a^2)" if "centered" in flag else root
    step = f"g / sqrt({root} + epsilon)" if "inside" in flag else f"g / (sqrt({root}) + epsilon)"
    if "momentum" in flag:
        return [*lines, f"b = momentum b + {step}", "p -= lr b"]
    return [*lines, f"p -= lr {step}"]


_ADAM_STEPS = {
    "before": "sqrt(1 - beta2^t) / (1 - beta1^t) m / (sqrt(v) + epsilon)",
    "inside": "m' / sqrt(v' + epsilon)",
    "outside": "m' / (sqrt(v') + epsilon)",
}
_BUFFERS = {
    SGD: lambda flag: ["m = momentum m + g"] if "momentum" in flag else [],
    Adam: lambda flag: ["m = beta1 m + (1 - beta1) g", "v = beta2 v + (1 - beta2) g^2"],
    RMSprop: lambda flag: [
        "v = decay v + (1 - decay) g^2",
        *(["a = decay a + (1 - decay) g"] if "centered" in flag else []),
    ],
    Adagrad: lambda flag: ["s += g^2"],
}
