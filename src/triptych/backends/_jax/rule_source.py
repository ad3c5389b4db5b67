"""Update rules as text: the Optax chain as one writes it by hand, in an ``nnx.Optimizer``.

Optax' own aliases are used where they compute the spec's formula at a constant rate; the others are
put together from its pieces, or written out where there is no piece. The live chains are in
``rules.py``.
"""

from __future__ import annotations

from triptych.backends import rule_sourcing as words
from triptych.backends.sourcing import assemble, fold
from triptych.spec.rules import SGD, Adagrad, Adam, AdamW, RMSprop, Rule

_HELPERS = {
    "clip_by_parameter_norm": '''
def clip_by_parameter_norm(limit: float) -> optax.GradientTransformation:
    """Scale each parameter's gradient down to a norm of at most the limit; Optax has no such."""

    def clip(grad: Array) -> Array:
        return grad * (limit / jnp.maximum(jnp.linalg.norm(grad.ravel()), limit))

    return optax.stateless(lambda grads, params: jax.tree.map(clip, grads))
''',
    "scale_by_adam_hat": '''
def scale_by_adam_hat(b1: float, b2: float, eps: float) -> optax.GradientTransformation:
    """Adam with epsilon before the bias correction, as in Keras; Optax has it after.

    m = b1 m + (1 - b1) g
    v = b2 v + (1 - b2) g^2
    step = sqrt(1 - b2^t) / (1 - b1^t) m / (sqrt(v) + epsilon)
    """

    def init(params: nnx.State) -> optax.ScaleByAdamState:
        mu, nu = (jax.tree.map(jnp.zeros_like, params) for _ in range(2))
        return optax.ScaleByAdamState(jnp.zeros([], jnp.int32), mu, nu)

    def update(grads: nnx.State, state: optax.ScaleByAdamState, params: nnx.State = None) -> tuple:
        t = state.count + 1
        mu = jax.tree.map(lambda m, g: b1 * m + (1 - b1) * g, state.mu, grads)
        nu = jax.tree.map(lambda v, g: b2 * v + (1 - b2) * g * g, state.nu, grads)
        scale = jnp.sqrt(1 - b2**t) / (1 - b1**t)
        steps = jax.tree.map(lambda m, v: scale.astype(m.dtype) * m / (jnp.sqrt(v) + eps), mu, nu)
        return steps, optax.ScaleByAdamState(t, mu, nu)

    return optax.GradientTransformation(init, update)
''',
    "scale_by_rss_outside": '''
def scale_by_rss_outside(initial: float, eps: float) -> optax.GradientTransformation:
    """Adagrad with epsilon outside the root, as in PyTorch; Optax has it inside.

    s += g^2
    step = g / (sqrt(s) + epsilon)
    """

    def init(params: nnx.State) -> optax.ScaleByRssState:
        return optax.ScaleByRssState(jax.tree.map(lambda p: jnp.full_like(p, initial), params))

    def update(grads: nnx.State, state: optax.ScaleByRssState, params: nnx.State = None) -> tuple:
        total = jax.tree.map(lambda s, g: s + g * g, state.sum_of_squares, grads)
        steps = jax.tree.map(lambda g, s: g / (jnp.sqrt(s) + eps), grads, total)
        return steps, optax.ScaleByRssState(total)

    return optax.GradientTransformation(init, update)
''',
    "scale_by_given_rate": '''
def scale_by_given_rate() -> optax.GradientTransformationExtraArgs:
    """Multiply by minus the rate that is handed to each update, which the host computes."""

    def update(steps: nnx.State, state: tuple, params: nnx.State = None, *, rate: Array) -> tuple:
        return jax.tree.map(lambda step: -rate.astype(step.dtype) * step, steps), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)
''',
}
_IMPORTS = (
    (r"\bmath\.", "import math\n"),
    (r"\bjax\.", "import jax"),
    (r"\bjnp\.", "import jax.numpy as jnp"),
    ("", "import optax"),
    ("", "from flax import nnx"),
    (r"\bArray\b", "from jax import Array"),
)


def write_rule(rule: Rule) -> str:
    """Return the text that defines ``make_optimizer(model)``, its imports first.

    The chain clips by itself. Where the rate is scheduled, ``rate(update)`` comes with it, counted
    from 0, and an update is ``optimizer.update(model, grads, rate=jnp.asarray(rate(update)))``.
    """
    words.check(rule, "jax")
    chain = [*_clip(rule), *(_named(rule) or _pieces(rule))]
    lines = [
        "def make_optimizer(model: nnx.Module) -> nnx.Optimizer:",
        f'    """{words.describe(rule)}"""',
        *_assigned(chain),
        "    return nnx.Optimizer(model, rule, wrt=nnx.Param)",
    ]
    before = [words.rate_function(rule)] if words.is_scheduled(rule) else []
    return assemble(_IMPORTS, _HELPERS, ["\n\n\n".join([*before, "\n".join(lines)])])


def _assigned(chain: list[str]) -> list[str]:
    """The lines that put the chain together, each link on its own."""
    if len(chain) == 1:
        return fold(f"    rule = {chain[0]}")
    links = [fold(f"        {link}") for link in chain]
    return [
        "    rule = optax.chain(",
        *(part for lines in links for part in _ended(lines)),
        "    )",
    ]


def _ended(lines: list[str]) -> list[str]:
    """Return lines with a comma behind the last."""
    return [*lines[:-1], f"{lines[-1]},"]


def _clip(rule: Rule) -> list[str]:
    limits = rule.clip
    if limits.value is not None:
        return [f"optax.clip({limits.value!r})"]
    if limits.norm is not None:
        return [f"clip_by_parameter_norm({limits.norm!r})"]
    if limits.global_norm is not None:
        return [f"optax.clip_by_global_norm({limits.global_norm!r})"]
    return []


def _named(rule: Rule) -> list[str] | None:
    """The alias of Optax that computes the rule's formula, None where there is none."""
    if words.is_scheduled(rule) or rule.l2:
        return None
    rate = repr(rule.rate.value(0))
    if isinstance(rule, SGD):
        return [f"optax.sgd({rate}, momentum={rule.momentum or None!r}, nesterov={rule.nesterov})"]
    if isinstance(rule, Adam) and not rule.epsilon_before_correction:
        decay = f", weight_decay={rule.weight_decay!r}" if isinstance(rule, AdamW) else ""
        return [f"optax.{rule.name}({rate}, {_adam(rule)}{decay})"]
    if isinstance(rule, RMSprop) and not rule.momentum:
        return [f"optax.rmsprop({rate}, {_rms(rule)}, centered={rule.centered})"]
    if isinstance(rule, Adagrad) and rule.epsilon_inside_root:
        return [
            f"optax.adagrad({rate}, initial_accumulator_value={rule.initial!r}, "
            f"eps={rule.epsilon!r})"
        ]
    return None


def _adam(rule: Adam) -> str:
    inside = rule.epsilon_inside_root
    outer, inner = (0.0, rule.epsilon) if inside else (rule.epsilon, 0.0)
    return f"b1={rule.beta1!r}, b2={rule.beta2!r}, eps={outer!r}, eps_root={inner!r}"


def _rms(rule: RMSprop) -> str:
    return (
        f"decay={rule.decay!r}, eps={rule.epsilon!r}, initial_scale=0.0, "
        f"eps_in_sqrt={rule.epsilon_inside_root}, bias_correction=False"
    )


def _pieces(rule: Rule) -> list[str]:
    """The links of the chain after the clipping: l2, the rule's scaling, the rate."""
    links = [f"optax.add_decayed_weights({rule.l2!r})"] if rule.l2 else []
    links += _scaling(rule)
    if words.is_scheduled(rule):
        return [*links, "scale_by_given_rate()"]
    return [*links, f"optax.scale_by_learning_rate({rule.rate.value(0)!r})"]


def _scaling(rule: Rule) -> list[str]:
    if isinstance(rule, SGD):
        return [_trace(rule.momentum, rule.nesterov)] if rule.momentum else []
    if isinstance(rule, Adam):
        hat = f"scale_by_adam_hat(b1={rule.beta1!r}, b2={rule.beta2!r}, eps={rule.epsilon!r})"
        link = hat if rule.epsilon_before_correction else f"optax.scale_by_adam({_adam(rule)})"
        if isinstance(rule, AdamW):
            return [link, f"optax.add_decayed_weights({rule.weight_decay!r})"]
        return [link]
    if isinstance(rule, RMSprop):
        kind = "scale_by_stddev" if rule.centered else "scale_by_rms"
        links = [f"optax.{kind}({_rms(rule)})"]
        return [*links, _trace(rule.momentum, False)] if rule.momentum else links
    assert isinstance(rule, Adagrad)
    if rule.epsilon_inside_root:
        return [f"optax.scale_by_rss({rule.initial!r}, eps={rule.epsilon!r})"]
    return [f"scale_by_rss_outside({rule.initial!r}, eps={rule.epsilon!r})"]


def _trace(momentum: float, nesterov: bool) -> str:
    return f"optax.trace({momentum!r}, nesterov={nesterov})"
