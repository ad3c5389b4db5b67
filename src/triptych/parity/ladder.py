"""All rungs for all pairs of a recipe's backends, each backend in processes of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from triptych.backends import registry
from triptych.engines.processes import Job, run_all
from triptych.errors import BackendError
from triptych.parity import free_run, record, rungs, subject
from triptych.parity.certificate import Certificate
from triptych.parity.diagnosis import elsewhere
from triptych.parity.record import Record
from triptych.parity.rungs import Verdict
from triptych.spec.recipe import Recipe

DTYPES = ("float64", "float32")


def climb(
    recipe: Recipe,
    backends: Sequence[str],
    seed: int = 0,
    *,
    highest: int = 7,
    dtypes: Sequence[str] = DTYPES,
    show: bool = True,
) -> Certificate:
    """Climb the ladder for every pair of backends.

    Args:
        recipe: what to compare.
        backends: two or more names.
        seed: of params, batches and the free run.
        highest: the highest rung, at most 7.
        dtypes: for rungs 0 to 6; the free run is in float64.
        show: whether to draw progress bars.

    Raises:
        BackendError: fewer than two backends, one twice, or one unknown or not installed.
    """
    if len(set(backends)) < 2 or len(set(backends)) != len(backends):
        raise BackendError(
            f"a comparison needs two or more different backends, got {', '.join(backends)}"
        )
    registry.check_names(backends)
    compared = subject.of_recipe(recipe, seed)
    jobs = [Job(name, record.job, (compared, name, tuple(dtypes))) for name in backends]
    if highest >= 7:
        jobs += [
            Job(f"{name} free run", free_run.run, (recipe.name, recipe.data, name, seed))
            for name in backends
        ]
    results = run_all(jobs, show)
    made = {(r.name, r.dtype): r for records in results[: len(backends)] for r in records}
    pairs = [(made[a, t], made[b, t]) for a, b in combinations(backends, 2) for t in dtypes]
    climbs = [rungs.climb(compared, *pair)[: highest + 1] for pair in pairs]
    doubtful = [place for place, verdicts_ in enumerate(climbs) if _parts_late(verdicts_)]
    # Rules that search have an envelope in float64 from the first.
    doubtful = [] if compared.by_envelope("float64") else doubtful
    _widen(compared, [pairs[place] for place in doubtful], show)
    for place in doubtful:
        climbs[place] = rungs.climb(compared, *pairs[place])[: highest + 1]
    verdicts = [verdict for verdicts_ in climbs for verdict in verdicts_]
    diagnoses = elsewhere.of_pairs(compared, pairs, verdicts, show)
    for left, right in combinations(results[len(backends) :], 2):
        verdicts.append(free_run.compare(left, right))
    verdicts.sort(key=lambda verdict: verdict.rung)
    return Certificate.make(recipe, backends, seed, verdicts, diagnoses)


def _parts_late(verdicts: Sequence[Verdict]) -> bool:
    """Whether two sides part in float64 on rung 5 or 6, which an envelope may explain."""
    return any(
        verdict.dtype == "float64" and verdict.rung in (5, 6) and not verdict.passed
        for verdict in verdicts
    )


def _widen(compared: subject.Subject, pairs: Sequence[tuple[Record, Record]], show: bool) -> None:
    """Measure the float64 envelope of the sides of pairs that part late."""
    sides = {side.name: side for pair in pairs for side in pair}
    jobs = [
        Job(f"{name} envelope", record.envelope_job, (compared, name, "float64")) for name in sides
    ]
    for side, starts in zip(sides.values(), run_all(jobs, show) if jobs else [], strict=True):
        record.widen(side, starts)
