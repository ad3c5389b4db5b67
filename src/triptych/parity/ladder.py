"""All rungs for all pairs of a recipe's backends, each backend in processes of its own."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

from triptych.backends import registry
from triptych.engines.processes import Job, run_all
from triptych.errors import BackendError
from triptych.parity import free_run, record, rungs, subject
from triptych.parity.certificate import Certificate
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
    jobs = [
        Job(f"{name} {dtype}", record.job, (compared, name, dtype))
        for dtype in dtypes
        for name in backends
    ]
    if highest >= 7:
        jobs += [
            Job(f"{name} free run", free_run.run, (recipe.name, recipe.data, name, seed))
            for name in backends
        ]
    results = run_all(jobs, show)
    records, traces = results[: len(dtypes) * len(backends)], results[len(dtypes) * len(backends) :]
    verdicts = []
    for pair in combinations(range(len(backends)), 2):
        for row in range(len(dtypes)):
            left, right = (records[row * len(backends) + place] for place in pair)
            verdicts += rungs.climb(compared, left, right)[: highest + 1]
        if traces:
            verdicts.append(free_run.compare(traces[pair[0]], traces[pair[1]]))
    verdicts.sort(key=lambda verdict: verdict.rung)
    return Certificate.make(recipe, backends, seed, verdicts)
