"""Which update rule is it? Told from the moves that an optimizer makes under chosen gradients.

Small gradients find the rule and its constants, large ones the clip, zero ones the decay; a
sequence that was used for none of this judges. What the rules are is in :mod:`families` and
:mod:`model`, what is played in :mod:`tapes`. Reading an optimizer's attributes does not belong
here.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cached_property

import numpy as np

from triptych.errors import BatchError
from triptych.parity.probing.families import FAMILIES, Family
from triptych.parity.probing.fitting import Fit, misfit, refine, search
from triptych.parity.probing.model import CLIPS, GUARD, Model
from triptych.parity.probing.naming import (
    Identified,
    constants_of,
    describe,
    factors,
    family_of,
    notes_on,
    rule_of,
)
from triptych.parity.probing.schedule import Rates, across, near
from triptych.parity.probing.settling import FLOOR, simplest, tidy
from triptych.parity.probing.signs import moves_by_sign, turning_shares
from triptych.parity.probing.tapes import (
    TOLERANCE,
    Play,
    Tape,
    held_out,
    nothing,
    record,
    scattered,
    small,
    still,
    wide,
)
from triptych.spec.initial import Params
from triptych.spec.schedules import COUNTS

__all__ = ["Identified", "Play", "describe", "factors", "identify"]


def identify(play: Play, *, dtype: str = "float64", counts: Sequence[int] = COUNTS) -> Identified:
    """Return the update rule that a live optimizer applies, from what it does to params.

    Args:
        play: applies gradients to a fresh copy of the optimizer (:data:`tapes.Play`).
        dtype: what the optimizer computes in, ``"float64"`` or ``"float32"``; the latter limits the
            constants to about three digits.
        counts: the updates, counted from 0, whose rates are wanted.

    Raises:
        BatchError: for another dtype.
    """
    if dtype not in TOLERANCE:
        raise BatchError(f"identify: dtype {dtype!r} is not known; expected float64 or float32")
    probe = _Probe(play, dtype)
    fits = probe.fits()
    best, others = (
        fits[0],
        [fit for fit in fits if fit.model.family.rule != fits[0].model.family.rule],
    )
    residual = misfit(best, [probe.judge])
    runner_up = min(
        ((misfit(fit, [probe.judge]), rule_of(fit)) for fit in others), default=(np.inf, "")
    )
    if not residual <= TOLERANCE[dtype]:
        note = f"closest is {rule_of(best)}, which does not reproduce the held-out sequence"
        return Identified("unknown", {}, {}, residual, (rule_of(best), residual), notes=(note,))
    rates = Rates(play, best, dtype, probe.climbs, near(dtype, residual))
    change = rates.first_change(counts)
    if change is not None and not best.varying:
        best = across(best, rates, change)
    return Identified(
        rule=rule_of(best),
        constants=constants_of(best, probe.climbs, change),
        rates={count: rates.at(count) for count in counts},
        residual=residual,
        runner_up=runner_up[::-1],
        changes_at=change,
        notes=notes_on(best, dtype, residual, change),
    )


class _Probe:
    """One optimizer under question: the tapes played to it and the fits to them."""

    def __init__(self, play: Play, dtype: str) -> None:
        self.dtype, self._play = dtype, play
        self.climbs = False
        self.climbs = _climbs(record(play, small(), still(), 0, dtype))
        self.decay = self._decay_tape()
        decays = bool(np.any(self.decay.moved))
        self.tapes = [self.decay] * decays
        self._lead(1.0)
        start = 0.5 if decays or dtype == "float64" else 0.0  # float32 moves need fine params
        self.wide = self._tape(wide(), scattered("wide", start))
        self.judge = self._tape(held_out(), scattered("held out", start))

    def _lead(self, scale: float) -> None:
        """Play small gradients, of which the fits' rates are taken: the first of the tapes."""
        self.lead = self._tape(small(scale=scale), still())
        self.tapes = [self.lead, *(tape for tape in self.tapes if tape is self.decay)]

    def _tape(self, gradients: list[Params], start: Params) -> Tape:
        tape = record(self._play, gradients, start, 0, self.dtype)
        return tape.flipped() if self.climbs else tape

    def _decay_tape(self) -> Tape:
        """Play zero gradients to params of sizes 1e-6 to 1; many in float32: noise averages."""
        shapes = {"a": (4, 4), "b": (16,), "c": (8, 2) if self.dtype == "float64" else (32, 16)}
        start = {
            name: value * 10 ** np.linspace(-6, 0, value.size).reshape(value.shape)
            for name, value in scattered("decay", 1.0, shapes).items()
        }
        return self._tape(nothing(3, shapes), start)

    def fits(self) -> list[Fit]:
        """Return the fits worth judging, the most believable first."""
        found = self._found()
        least = found[0].error
        near = [fit for fit in found if fit.error <= max(30 * least, FLOOR[self.dtype])]
        near.sort(key=lambda fit: len(fit.model.free))
        most = len(near[0].model.free) + 1
        near = [fit for fit in near if len(fit.model.free) <= most][:4]
        if least > FLOOR[self.dtype]:
            near += self._siblings(found[0])
        known = {family_of(fit) for fit in near}
        other = next(fit for fit in found if family_of(fit) not in known)
        finals = [self._clipped(fit) for fit in (*near, other)]
        finals += self._begun_again(finals)
        finals.sort(key=self._misfit)
        return self._ordered(finals)

    def _begun_again(self, finals: Sequence[Fit]) -> list[Fit]:
        """Return the nearest fits from every guess of epsilon, where none reproduces the held-out
        sequence: one that ended too small to be felt can't grow."""
        least = min(map(self._misfit, finals))
        if least <= TOLERANCE[self.dtype]:
            return []
        again = [f for f in finals if self._misfit(f) <= 2 * least and "epsilon" in f.model.free]
        return [refine(fit, [*self.tapes, self.wide], anew="epsilon") for fit in again]

    def _misfit(self, fit: Fit) -> float:
        return misfit(fit, [self.judge])

    def _siblings(self, fit: Fit) -> list[Fit]:
        """Return the same rule with other flags, begun where a fit that is not clean ended."""
        own = fit.model.family
        others = [f for f in FAMILIES if f.rule == own.rule and f.free == own.free and f is not own]
        return [refine(fit, self.tapes, model=replace(fit.model, family=f)) for f in others]

    def _found(self) -> list[Fit]:
        """Return the fits to small gradients, the nearest first; rarer models only if none fits."""
        found: list[Fit] = []
        for varying, rare in ((False, False), (True, False), (True, True)):
            found = sorted((*found, *self._searched(varying, rare)), key=lambda fit: fit.error)
            if found[0].error <= TOLERANCE[self.dtype]:
                return found
        self._lead(1e-3)  # a clip may have held the gradients that were meant to be small
        return sorted(self._searched(False, False), key=lambda fit: fit.error)

    def _ordered(self, finals: list[Fit]) -> list[Fit]:
        """Put what reproduces the held-out sequence first, with the fewest constants, smoothest."""
        good = [f for f in finals if self._misfit(f) <= TOLERANCE[self.dtype]]
        tapes = [*self.tapes, self.wide]
        plain = [simplest(fit, tapes, self.dtype) for fit in good]
        order = {id(family): place for place, family in enumerate(FAMILIES)}
        plain.sort(key=lambda f: (f.size, round(_roughness(f), 3), order[id(f.model.family)]))
        plain[:1] = [tidy(fit, tapes, self.dtype) for fit in plain[:1]]
        return plain + [fit for fit in finals if not any(fit is one for one in good)]

    def _searched(self, varying: bool, rare: bool) -> list[Fit]:
        decay = self.decay if len(self.tapes) > 1 else None
        families: Sequence[Family] = FAMILIES
        guesses: dict[str, float] = {}
        if moves_by_sign(self.lead):
            families = tuple(family for family in FAMILIES if family.rule in ("sign", "lion"))
            guesses = dict(zip(("beta1", "beta2"), self.shares, strict=True))
        found = [
            search(model, self.tapes, varying, guesses=guesses)
            for model in _models(families, decay, rare)
        ]
        found.sort(key=lambda fit: fit.error)
        if found[0].error <= TOLERANCE[self.dtype]:
            return found
        return [  # the nearest may only have begun in the wrong place
            *(search(fit.model, self.tapes, varying, 6, guesses) for fit in found[:5]),
            *found[5:],
        ]

    @cached_property
    def shares(self) -> tuple[float, float]:
        """Lion's two shares."""
        return turning_shares(self._turned)

    def _turned(self, gradients: Sequence[Params], start: Params, first: int) -> list[Params]:
        sign = -1 if self.climbs else 1
        return self._play([{k: sign * v for k, v in g.items()} for g in gradients], start, first)

    def _clipped(self, fit: Fit) -> Fit:
        """Return the fit to large gradients too, with the clip they show, if any."""
        tapes, floor = [*self.tapes, self.wide], TOLERANCE[self.dtype]
        plain = refine(fit, tapes)
        if plain.error <= floor / 10:
            return plain
        orders = (False, True) if fit.model.decay == "l2" else (False,)
        models = [
            replace(fit.model, clip=kind, clip_after_l2=after) for kind in CLIPS for after in orders
        ]
        best = min((refine(fit, tapes, model=model) for model in models), key=lambda f: f.error)
        if best.model.clip != "value":
            guarded = refine(best, tapes, model=replace(best.model, guard=GUARD))
            best = guarded if guarded.error < 0.5 * best.error else best
        return best if best.error < 0.5 * plain.error else plain


def _climbs(tape: Tape) -> bool:
    """Whether params move along their gradients (``maximize``) rather than against them."""
    votes = np.sign(tape.moved * tape.gradients).sum(axis=1)
    decided = votes[np.any(tape.moved, axis=1)]
    return bool(decided.size and decided[0] < 0)


def _models(families: Sequence[Family], decay: Tape | None, rare: bool) -> Iterator[Model]:
    """Yield the models that could make params shrink as they did without gradients.

    Args:
        families: the formulas.
        decay: the tape of zero gradients, if it moved the params.
        rare: yield those whose momentum holds the rate or whose decay does not follow it, both
            to be told only from a changing rate, instead of the others.
    """
    models = [model for family in families for model in _wrapped(family)]
    inside = [replace(m, momentum="inside", dampened=False) for m in models if m.momentum]
    if decay is None:
        yield from inside if rare else models
        return
    linear = _is_linear(decay)
    for model in [*models, *inside] if rare and linear else inside if rare else models:
        if not linear or (model.family.rule == "sgd" and model.momentum != "inside"):
            yield replace(model, decay="l2")
        if linear:
            yield replace(model, decay="fixed" if rare else "decoupled")
    if rare and linear:
        yield from (replace(model, decay="decoupled") for model in inside)
        yield from (replace(m, decay="l2") for m in inside if m.family.rule == "sgd")


def _wrapped(family: Family) -> Iterator[Model]:
    """Yield a family's models: with its kinds of momentum, if it takes any."""
    yield Model(family)
    if family.wrapped:
        yield Model(family, "outside", dampened=family.rule == "sgd")
        yield Model(family, "outside", nesterov=True)


def _is_linear(decay: Tape) -> bool:
    """Whether every param shrank by the same share: no adaptive rule saw the decay."""
    shares = decay.moved[-1] / decay.before[-1]
    rounding = 4 * np.max(decay.noise[-1] / np.abs(decay.before[-1]))
    return bool(np.ptp(shares) <= 1e-6 * abs(np.median(shares)) + rounding)


def _roughness(fit: Fit) -> float:
    """Return how far the rates are from smooth: of two explanations the smoother is meant."""
    rates = np.abs(fit.rates) / max(float(np.max(np.abs(fit.rates))), 1e-300)
    return float(np.sum(np.abs(np.diff(rates, 2)))) if fit.varying else 0.0
