"""Hypotheses about update rules: constants, epsilon's place, decay, momentum, clipping, rates."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields, replace
from typing import Any

import numpy as np

from triptych.backends.protocol import Params
from triptych.errors import TriptychError
from triptych.parity.diagnosis import solve
from triptych.parity.diagnosis.playing import Change, Scene, Variant
from triptych.parity.diagnosis.search import Step
from triptych.spec.rules import SGD, Adagrad, Adam, AdamW, Clip, RMSprop, Rule

VANISHED = 1e-8
"""Relative difference of updates that counts as none."""

_FACTORS = {
    "epsilon": "epsilon",
    "beta1": "adam-betas",
    "beta2": "adam-betas",
    "momentum": "momentum",
    "decay": "rmsprop-decay",
    "initial": "accumulator-start",
    "l2": "l2",
    "weight_decay": "weight-decay",
}
"""Field of a rule: factor."""
_STARTS: dict[str, tuple[float, ...]] = {
    "epsilon": (1e-10, 1e-8, 1e-7, 1e-6, 1e-5, 1e-4, 1e-3, 1e-2),
    "beta1": (0.5, 0.8, 0.9, 0.95, 0.99),
    "beta2": (0.9, 0.95, 0.99, 0.999),
    "momentum": (0.0, 0.5, 0.9, 0.95, 0.99),
    "decay": (0.9, 0.95, 0.99),
    "initial": (0.01, 0.1, 1.0),
    "l2": (0.0, 1e-4, 1e-3, 1e-2, 0.1),
    "weight_decay": (0.0, 1e-4, 4e-3, 1e-2, 0.1),
}
_POSITIVE = ("epsilon", "initial")
_FOREVER = 10**9
"""So many updates that a bias correction is 1."""


@dataclass(frozen=True)
class _Number:
    """A hypothesis with a number to find."""

    factor: str
    left: Any
    make: Callable[[float], Variant]
    starts: tuple[float, ...]
    positive: bool = False
    words: Callable[[float], Any] = float


def _freed(own: Variant, scene: Scene) -> Iterator[Step[Variant]]:
    """Another rate, the same number of times at every update, or of its own at each."""
    gains = scene.gains(own)
    middle = float(np.median(list(gains.values())))
    gain = solve.tidy(lambda c: scene.residuals(replace(own, gain=c * own.gain)), middle)
    words = f"{gain:.4g} times as large"
    yield Step("learning-rate", "as given", words, replace(own, gain=gain * own.gain))
    said = "times " + ", ".join(f"{one:.4g}" for one in list(gains.values())[:4]) + ", ..."
    yield Step("rate-schedule", "as given", said, replace(own, gains=gains))


def steps(scene: Scene, own: Variant) -> Iterator[Step[Variant]]:
    """Yield the hypotheses about a rule, those without a number first, numbers found."""
    yield from _rounded(own)
    yield from _places(own)
    yield from _clips(own)
    yield from _momenta(own)
    yield from _decays(own)
    yield from _counts(own)
    yield from _rates(own)
    yield from _freed(own, scene)
    for number in _numbers(own):
        found = solve.constant(
            lambda c, item=number: scene.residuals(item.make(c)),  # type: ignore[misc]
            number.starts,
            positive=number.positive,
        )
        if found is not None:
            yield Step(number.factor, number.left, number.words(found), number.make(found))
    yield from _others(own)


def _with(own: Variant, **changes: Any) -> Variant:
    return replace(own, rule=replace(own.rule, **changes))


def _constants(rule: Rule) -> list[str]:
    return [item.name for item in fields(rule) if item.name in _FACTORS]


def _rounded(own: Variant) -> Iterator[Step[Variant]]:
    """Each constant as float32 holds it, and all at once."""
    rounded = {}
    for name in _constants(own.rule):
        exact = getattr(own.rule, name)
        if (near := float(np.float32(exact))) != exact:
            rounded[name] = near
            yield Step("constant-through-float32", exact, near, _with(own, **{name: near}))
    if len(rounded) > 1:
        words = " and ".join(rounded)
        yield Step("constant-through-float32", words, "rounded", _with(own, **rounded))


def _places(own: Variant) -> Iterator[Step[Variant]]:
    """Epsilon's places, and a centred variance or not."""
    rule = own.rule
    if hasattr(rule, "epsilon_before_correction"):
        for place, changes in _ADAM_PLACES.items():
            if place != place_of(rule):
                yield Step("epsilon-place", place_of(rule), place, _with(own, **changes))
    elif hasattr(rule, "epsilon_inside_root"):
        inside = not rule.epsilon_inside_root
        changed = _with(own, epsilon_inside_root=inside)
        yield Step("epsilon-place", place_of(rule), place_of(changed.rule), changed)
    if isinstance(rule, RMSprop):
        changed = _with(own, centered=not rule.centered)
        yield Step("centered-variance", rule.centered, not rule.centered, changed)


_ADAM_PLACES = {
    "after the root": {"epsilon_inside_root": False, "epsilon_before_correction": False},
    "inside the root": {"epsilon_inside_root": True, "epsilon_before_correction": False},
    "before the correction": {"epsilon_inside_root": False, "epsilon_before_correction": True},
}


def place_of(rule: Any) -> str:
    """Return the place of a rule's epsilon in words."""
    if getattr(rule, "epsilon_before_correction", False):
        return "before the correction"
    return "inside the root" if rule.epsilon_inside_root else "after the root"


def _clips(own: Variant) -> Iterator[Step[Variant]]:
    """Another kind of clipping at the same limit, none, PyTorch's formula, another order."""
    limits = {kind: limit for kind, limit in asdict(own.rule.clip).items() if limit is not None}
    for kind, limit in limits.items():
        yield Step("clip-kind", _clip_words(kind, limit), "none", _with(own, clip=Clip()))
        for other in ("global_norm", "norm", "value"):
            if other != kind:
                changed = _with(own, clip=Clip(**{other: limit}))
                yield Step(
                    "clip-kind", _clip_words(kind, limit), _clip_words(other, limit), changed
                )
        if kind != "value":
            soft = replace(_with(own, clip=Clip()), before=_soft(kind, limit))
            words = "limit / (norm + 1e-6)"
            yield Step("clip-kind", _clip_words(kind, limit), words, soft)
        if own.rule.l2:
            late = replace(_with(own, l2=0.0), before=_l2_first(own.rule.l2))
            yield Step("clip-kind", "clipped before l2 is added", "after", late)


def _clip_words(kind: str, limit: float) -> str:
    return f"{kind} {limit:g}"


def _soft(kind: str, limit: float) -> Change:
    """Clipping with 1e-6 added to the norm, as PyTorch's clip_grad_norm_ does."""

    def before(grads: Params, params: Params, rate: float, count: int) -> Params:
        norms = {name: float(np.linalg.norm(g)) for name, g in grads.items()}
        if kind == "global_norm":
            norms = dict.fromkeys(grads, math.hypot(*norms.values()))
        return {n: g * min(1.0, limit / (norms[n] + 1e-6)) for n, g in grads.items()}

    return before


def _l2_first(l2: float) -> Change:
    return lambda grads, params, rate, count: {n: g + l2 * params[n] for n, g in grads.items()}


def _momenta(own: Variant) -> Iterator[Step[Variant]]:
    """Nesterov's form, the rate inside the buffer."""
    rule = own.rule
    if not isinstance(rule, SGD):
        return
    if rule.momentum:
        changed = _with(own, nesterov=not rule.nesterov)
        yield Step("nesterov", rule.nesterov, not rule.nesterov, changed)
        inside = replace(own, unit=True, before=_times_rate)
        if not (rule.l2 or asdict(rule.clip) != asdict(Clip())):
            yield Step("rate-in-buffer", False, True, inside)


def _times_rate(grads: Params, params: Params, rate: float, count: int) -> Params:
    return {name: rate * g for name, g in grads.items()}


def _decays(own: Variant) -> Iterator[Step[Variant]]:
    """Coupled for decoupled, decay without the rate, twice the coefficient."""
    rule = own.rule
    if isinstance(rule, AdamW) and rule.weight_decay:
        plain = _as(rule, Adam)
        coupled = replace(own, rule=replace(plain, l2=rule.weight_decay))
        yield Step("weight-decay", "decoupled", "coupled: added to the gradient", coupled)
        still = replace(own, rule=plain, after=_shrink(rule.weight_decay, False))
        yield Step("weight-decay", "times the rate", "not times the rate", still)
    elif rule.l2:
        free = _with(own, l2=0.0)
        decoupled = replace(free, after=_shrink(rule.l2, True))
        yield Step("l2", "added to the gradient", "decoupled from it", decoupled)
        bare = replace(free, after=_shrink(rule.l2, False))
        yield Step("l2", "added to the gradient", "decoupled, not times the rate", bare)


def _as(rule: Rule, kind: type[Rule]) -> Any:
    """The rule as another kind, with the constants that kind has."""
    known = {item.name for item in fields(kind)}
    return kind(**{f.name: getattr(rule, f.name) for f in fields(rule) if f.name in known})


def _shrink(decay: float, with_rate: bool) -> Change:
    """p -= decay * p before, times the rate or not."""

    def after(params: Params, before: Params, rate: float, count: int) -> Params:
        share = decay * (rate if with_rate else 1.0)
        return {name: p - share * before[name] for name, p in params.items()}

    return after


def _counts(own: Variant) -> Iterator[Step[Variant]]:
    """What becomes of Adam's counter of updates."""
    if isinstance(own.rule, Adam):
        words = "by the number of updates"
        for said, counter in _COUNTERS.items():
            yield Step("bias-correction", words, said, replace(own, counter=counter))


_COUNTERS: dict[str, Callable[[int], int]] = {
    "none": lambda count: _FOREVER,
    "always that of the first update": lambda count: 0,
    "one update ahead": lambda count: count + 1,
}


def _rates(own: Variant) -> Iterator[Step[Variant]]:
    """The schedule read at another count, or not at all."""
    for shift, words in ((1, "one update early"), (-1, "one update late")):
        yield Step("rate-schedule", "on time", words, replace(own, shift=shift))
    yield Step("rate-schedule", "followed", "rate of the first update", replace(own, frozen=True))
    turned = replace(own, gain=-own.gain)
    yield Step("update-rule", "descends", "ascends", turned)


def _numbers(own: Variant) -> Iterator[_Number]:
    """Every constant of the rule, dampening, the clip's limit, a decay there is none."""
    rule = own.rule
    for name in _constants(rule):
        starts = (max(getattr(rule, name), 1e-12), *_STARTS[name])
        make: Callable[[float], Variant] = lambda c, n=name: _with(own, **{n: c})  # type: ignore[misc]  # noqa: E731
        yield _Number(_FACTORS[name], getattr(rule, name), make, starts, name in _POSITIVE)
    for kind, limit in asdict(rule.clip).items():
        if limit is not None:
            cut: Callable[[float], Variant] = lambda c, k=kind: _with(own, clip=Clip(**{k: c}))  # type: ignore[misc]  # noqa: E731
            yield _Number("clip-limit", limit, cut, (limit, limit / 10, limit * 10), True)
    if not any(asdict(rule.clip).values()):
        for kind in ("global_norm", "norm", "value"):
            cut = lambda c, k=kind: _with(own, clip=Clip(**{k: c}))  # type: ignore[misc]  # noqa: E731
            words = f"{kind} {{:.3g}}".format
            yield _Number("clip-kind", "none", cut, (0.01, 0.1, 1.0, 5.0), True, words)
    if isinstance(rule, SGD) and rule.momentum:
        damped = lambda c: replace(own, before=_dampen(c))  # noqa: E731
        yield _Number("dampening", 0.0, damped, (0.1, rule.momentum, 0.5))
    if not isinstance(rule, AdamW):
        decayed = lambda c: replace(own, after=_shrink(c, True))  # noqa: E731
        yield _Number("weight-decay", 0.0, decayed, (1e-3, 1e-2, 0.1))


def _dampen(share: float) -> Change:
    """g (1 - dampening) into the buffer, from the second update on, as PyTorch does."""
    return lambda grads, params, rate, count: {
        n: g * (1.0 - share if count else 1.0) for n, g in grads.items()
    }


def _others(own: Variant) -> Iterator[Step[Variant]]:
    """Another rule with its usual constants, or with those of the same names."""
    rule = own.rule
    common = {"rate": rule.rate, "l2": rule.l2, "clip": rule.clip}
    usual: tuple[Rule, ...] = (
        *(SGD(**common), SGD(**common, momentum=0.9), Adam(**common), AdamW(**common)),  # type: ignore[arg-type]
        *(RMSprop(**common), Adagrad(**common)),  # type: ignore[arg-type]
    )
    for other in usual:
        if type(other) is type(rule):
            continue
        for changed in _dressed(other, rule):
            yield Step("update-rule", rule.name, changed.name, replace(own, rule=changed))
    signed = replace(own, rule=SGD(rule.rate), before=_signs)
    yield Step("update-rule", rule.name, "sign of the gradient", signed)


def _dressed(other: Rule, rule: Rule) -> Iterator[Rule]:
    """A rule as it is usual, and with the constants it shares with the left's."""
    yield other
    shared = {n: getattr(rule, n) for n in _constants(rule) if hasattr(other, n)}
    try:
        yield replace(other, **shared)
    except (TriptychError, ValueError):
        return


def _signs(grads: Params, params: Params, rate: float, count: int) -> Params:
    return {name: np.sign(g) for name, g in grads.items()}
