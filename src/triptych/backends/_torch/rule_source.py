"""Update rules as text: the ``torch.optim`` optimizer as one writes it by hand.

``torch.optim`` computes SGD, Adam, AdamW, and RMSprop and Adagrad with epsilon outside the root;
the other formulas become a class of their own. The live optimizers are in ``rules.py``.
"""

from __future__ import annotations

from triptych.backends import rule_sourcing as words
from triptych.backends.sourcing import assemble, fold
from triptych.backends.templating import fill
from triptych.spec.rules import SGD, Adagrad, Adam, AdamW, RMSprop, Rule

_CLIP = '''
def clip_gradients(model: nn.Module) -> None:
    """Hold each entry of the gradients within [-{{limit}}, {{limit}}]."""    #if value
    """Scale each parameter's gradient down to a norm of at most {{limit}}."""    #if norm
    """Scale all gradients down together to a norm of at most {{limit}}.    #if global
    #if global
    nn.utils.clip_grad_norm_ does the same, but for the 1e-6 that it adds to the norm.    #if global
    """    #if global
    grads = [p.grad for p in model.parameters() if p.grad is not None]
    for grad in grads:    #if value
        grad.clamp_(-{{limit}}, {{limit}})    #if value
    for grad in grads:    #if norm
        grad.mul_({{limit}} / torch.linalg.vector_norm(grad).clamp(min={{limit}}))    #if norm
    norms = [torch.linalg.vector_norm(grad) for grad in grads]    #if global
    norm = torch.linalg.vector_norm(torch.stack(norms))    #if global
    for grad in grads:    #if global
        grad.mul_({{limit}} / norm.clamp(min={{limit}}))    #if global
'''

_CLASS = '''
class {{name}}(torch.optim.Optimizer):
    """{{about}}

{{formula}}
    """

    def __init__(self, params: Iterable[nn.Parameter], lr: float, **constants: float) -> None:
        super().__init__(params, {"lr": lr, **constants})

    @torch.no_grad()
    def step(self) -> None:
        """Make one update from every parameter's gradient."""
        for group in self.param_groups:
            for p in group["params"]:
                if p.grad is not None:
                    self.change(p, p.grad, self.state[p], group)

    def change(self, p: Tensor, g: Tensor, state: dict, group: dict) -> None:
        """Change one parameter in place."""
        if not state:
            state["step"] = 0    #if adam
{{slots}}
        state["step"] += 1    #if adam
        g = g.add(p, alpha=group["l2"])    #if l2
{{body}}
'''

_RMSPROP = """
        v = state["square_avg"].mul_(group["decay"])
        v.addcmul_(g, g, value=1.0 - group["decay"])
        a = state["grad_avg"].mul_(group["decay"]).add_(g, alpha=1.0 - group["decay"]) #if centered
        v = v - a * a    #if centered
        step = g / (v + group["epsilon"]).sqrt()
        step = state["momentum_buffer"].mul_(group["momentum"]).add_(step)    #if momentum
        p.add_(step, alpha=-group["lr"])
"""
_ADAGRAD = """
        s = state["sum"].addcmul_(g, g)
        p.add_(g / (s + group["epsilon"]).sqrt(), alpha=-group["lr"])
"""
_ADAM = """
        m = state["exp_avg"].mul_(group["beta1"]).add_(g, alpha=1.0 - group["beta1"])
        v = state["exp_avg_sq"].mul_(group["beta2"]).addcmul_(g, g, value=1.0 - group["beta2"])
        short1 = 1.0 - group["beta1"] ** state["step"]
        short2 = 1.0 - group["beta2"] ** state["step"]
        p.mul_(1.0 - group["lr"] * group["weight_decay"])    #if decoupled
        step = m / (v.sqrt() + group["epsilon"]) * (math.sqrt(short2) / short1)    #if before
        step = (m / short1) / (v / short2 + group["epsilon"]).sqrt()    #if inside
        step = (m / short1) / ((v / short2).sqrt() + group["epsilon"])    #if outside
        p.add_(step, alpha=-group["lr"])
"""
_BODIES = {"RMSprop": _RMSPROP, "Adagrad": _ADAGRAD, "Adam": _ADAM, "AdamW": _ADAM}
_ABOUT = {
    "RMSprop": "RMSprop with epsilon inside the root, as in Keras; torch.optim has it outside.",
    "Adagrad": "Adagrad with epsilon inside the root, as in Keras; torch.optim has it outside.",
    "before": "{} with epsilon before the bias correction, as in Keras; torch.optim has it after.",
    "inside": "{} with epsilon inside the root; torch.optim has it outside.",
    "outside": "{} with an l2 in the gradients beside its decoupled decay.",
}
_STATE = {
    "momentum": "momentum_buffer",
    "first_moment": "exp_avg",
    "second_moment": "exp_avg_sq",
    "accumulator": "sum",
}
# torch.optim.RMSprop's own names
_RENAMED: dict[type[Rule], dict[str, str]] = {
    RMSprop: {"first_moment": "grad_avg", "second_moment": "square_avg"}
}
_IMPORTS = (
    (r"\bmath\.", "import math"),
    (r"\bIterable\b", "from collections.abc import Iterable"),
    (r"\bmath\.|\bIterable\b", ""),
    ("", "import torch"),
    (r"\bTensor\b", "from torch import Tensor, nn"),
    (r"\A(?!(?s:.*)\bTensor\b)", "from torch import nn"),
)


def write_rule(rule: Rule) -> str:
    """Return the text that defines ``make_optimizer(model)``, its imports first.

    ``clip_gradients(model)`` comes with it where the rule clips, to be called before ``step``, and
    ``rate(update)`` where the rate is scheduled, to be put into the optimizer's groups as ``lr``
    before each update, counted from 0.
    """
    words.check(rule, "torch")
    limits = {"value": rule.clip.value, "norm": rule.clip.norm, "global": rule.clip.global_norm}
    parts = [fill(_CLIP, {"limit": repr(c)}, {n}) for n, c in limits.items() if c is not None]
    if words.is_scheduled(rule):
        parts.append(words.rate_function(rule))
    native = _native(rule)
    if native is None:
        parts.append(_class(rule))
    lines = [
        "def make_optimizer(model: nn.Module) -> torch.optim.Optimizer:",
        f'    """{words.describe(rule)}"""',
        *fold(f"    return {native or _own(rule)}"),
    ]
    return assemble(_IMPORTS, {}, ["\n\n\n".join([*parts, "\n".join(lines)])])


def _native(rule: Rule) -> str | None:
    """The call of ``torch.optim`` that computes the rule's formula, None where there is none."""
    start = f"model.parameters(), lr={rule.rate.value(0)!r}"
    outside = words.epsilon_place(rule) == "outside"
    if isinstance(rule, SGD):
        return (
            f"torch.optim.SGD({start}, momentum={rule.momentum!r}, dampening=0.0, "
            f"weight_decay={rule.l2!r}, nesterov={rule.nesterov}, fused=True)"
        )
    if isinstance(rule, Adam) and outside and not (isinstance(rule, AdamW) and rule.l2):
        decay = rule.weight_decay if isinstance(rule, AdamW) else rule.l2
        return (
            f"torch.optim.{words.title(rule)}({start}, betas=({rule.beta1!r}, {rule.beta2!r}), "
            f"eps={rule.epsilon!r}, weight_decay={decay!r}, amsgrad=False, fused=True)"
        )
    if isinstance(rule, RMSprop) and outside:
        return (
            f"torch.optim.RMSprop({start}, alpha={rule.decay!r}, eps={rule.epsilon!r}, "
            f"weight_decay={rule.l2!r}, momentum={rule.momentum!r}, centered={rule.centered})"
        )
    if isinstance(rule, Adagrad) and outside:
        return (
            f"torch.optim.Adagrad({start}, lr_decay=0.0, weight_decay={rule.l2!r}, "
            f"initial_accumulator_value={rule.initial!r}, eps={rule.epsilon!r})"
        )
    return None


def _own(rule: Rule) -> str:
    """The call of the class that :func:`_class` writes."""
    given = "".join(f", {name}={value!r}" for name, value in words.constants(rule).items())
    return f"{words.title(rule)}(model.parameters(), lr={rule.rate.value(0)!r}{given})"


def _class(rule: Rule) -> str:
    keys, flags = _STATE | _RENAMED.get(type(rule), {}), words.flags(rule)
    fresh = 'torch.full_like(p, group["initial"])' if "initial" in flags else "torch.zeros_like(p)"
    slots = [f'            state["{keys[slot]}"] = {fresh}' for slot in rule.slots]
    name = words.title(rule)
    values = {
        "name": name,
        "about": _ABOUT.get(name) or _ABOUT[words.epsilon_place(rule)].format(name),
        "formula": "\n".join(f"    {line}" for line in words.formula(rule)),
        "slots": "\n".join(slots),
        "body": fill(_BODIES[name], {}, flags),
    }
    return fill(_CLASS, values, flags)
