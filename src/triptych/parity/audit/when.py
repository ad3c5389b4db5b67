"""From which update a difference acts: by what the factor is, and by the two sides' own numbers.

Update 0 is before any: outputs, losses and initial values differ at once. Update n is the n-th one.
What a factor is and why it matters in general is told by its page of the catalogue.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from typing import Any

from triptych.parity.audit.natives import Facts, close

_FROM_FIRST = (
    *("rule", "epsilon", "epsilon_inside_root", "epsilon_before_correction", "decay", "centered"),
    *("initial", "nesterov", "l2", "weight_decay", "weight_decay_without_rate", "maximize"),
)
_FROM_SECOND = ("beta1", "beta2", "momentum", "dampening")
"""Constants that the first update does not show: the moments are corrected or begin at zero."""
_RUNNING = ("keep", "unbiased")
"""Constants that act on running statistics: seen in inference after the first update."""
_AFTERWARDS = ("budget.", "version.", "seed", "backend")
"""What has no update of its own."""


def when(key: str, left: Facts, right: Facts) -> tuple[int | None, str]:
    """Return the update from which a difference acts, None for none that can be said, and why."""
    group, _, name = key.partition(".")
    if group == "optimizer":
        return _of_rule(name, left, right)
    if key.endswith(".initial"):
        return 0, "from the start; the ladder does not see it, since it carries params over"
    if group == "dropout" or key.endswith(".rate"):
        return 1, "in training only, from update 1"
    if name in _RUNNING:
        return 1, "running statistics move otherwise: inference differs after update 1"
    if key.startswith(_AFTERWARDS):
        return None, _AFTERWARDS_SAY.get(group, "at no update of its own")
    if key == "algorithm.replay_storage":
        return None, "never: where transitions are kept changes no number"
    if key == "algorithm.target_sync":
        return _of_target(left, right)
    if group in ("algorithm", "task"):
        return 0, "from the first step the agent takes or learns from"
    return 0, "before any update: outputs or loss differ at once"


_AFTERWARDS_SAY = {
    "budget": "after the shorter training has ended",
    "seed": "every random draw differs; compare several seeds, not two runs",
    "backend": "in rounding alone, as far as the ladder is green",
    "version": "only where a release changed what it computes; see 'triptych defaults'",
}


def _of_rule(name: str, left: Facts, right: Facts) -> tuple[int | None, str]:
    if name == "rate":
        return _of_rate(left, right)
    if name.startswith("clip."):
        return _of_clip(left, right)
    if name == "rate_in_buffer":
        changes = [side for side in map(_first_change, (left, right)) if side is not None]
        if not changes:
            return None, "equal while the rate is constant, as it is on both sides"
        return (
            min(changes) + 1,
            f"equal while the rate is constant, differs from update {min(changes) + 1:,} "
            "when the schedule changes it",
        )
    if name in _FROM_SECOND:
        return 2, "from update 2: the first does not show it"
    if name in _FROM_FIRST:
        return 1, "from update 1"
    return 1, "from update 1, as far as is known"


def _of_rate(left: Facts, right: Facts) -> tuple[int | None, str]:
    """The first update at another rate: exact where both schedules are known as functions."""
    if left.schedule is not None and right.schedule is not None:
        first = _first_unlike(left.schedule, right.schedule)
    else:
        counts = sorted(set(rates(left)) & set(rates(right)))
        seen = [count for count in counts if not close(rates(left)[count], rates(right)[count])]
        changes = [c for c in map(_first_change, (left, right)) if c is not None]
        first = 0 if 0 in seen else min(changes, default=min(seen, default=None))
    if first is None:
        return None, "at no update looked at"
    return first + 1, "from update 1" if first == 0 else (
        f"equal until update {first:,}, differs from update {first + 1:,} on"
    )


def _first_unlike(left: Callable[[int], float], right: Callable[[int], float]) -> int | None:
    """Return the first count at which two schedules differ: up to 10,000 each, then in strides."""
    counts = itertools.chain(range(10_000), range(10_000, 10_000_000, 1_000))
    found = next((count for count in counts if left(count) != right(count)), None)
    if found is None or found < 10_000:
        return found
    between = range(found - 999, found + 1)
    return next(count for count in between if left(count) != right(count))


def rates(side: Facts) -> dict[int, float]:
    """Return the rates that are known of a side, by the count of updates made."""
    prefix = "optimizer.rate at update "
    return {
        int(key[len(prefix) :]): value
        for key, value in side.factors.items()
        if key.startswith(prefix) and key[len(prefix) :].isdigit()
    }


def _first_change(side: Facts) -> int | None:
    """The first count of updates whose rate is another than at 0."""
    if side.rule is not None:
        return side.rule.changes_at
    if side.schedule is not None:
        start = side.schedule(0)
        return _first_unlike(side.schedule, lambda count: start)
    known = rates(side)
    return next((count for count, rate in sorted(known.items()) if rate != known.get(0)), None)


def _of_clip(left: Facts, right: Facts) -> tuple[int | None, str]:
    limits = [limit for side in (left, right) for limit in _limits(side.factors)]
    norms = [side.norm for side in (left, right) if side.norm is not None]
    if limits and norms and max(norms) > min(limits):
        return 1, f"from update 1: the gradient's norm is {max(norms):.3g} there"
    seen = f"; at the start its norm is {max(norms):.3g}" if norms else ""
    return None, f"from the first update whose gradient passes the limit{seen}"


def _limits(factors: Mapping[str, Any]) -> list[float]:
    keys = ("optimizer.clip.global_norm", "optimizer.clip.norm", "optimizer.clip.value")
    return [float(factors[key]) for key in keys if factors.get(key) is not None]


def _of_target(left: Facts, right: Facts) -> tuple[int | None, str]:
    """When the target networks first part: at the earlier of the two copies."""
    own = left.factors
    given = [side.factors.get("algorithm.target_sync") for side in (left, right)]
    syncs = [int(sync) for sync in given if sync is not None]
    if len(syncs) < 2:
        return 2, "from update 2: without a target network the targets move at once"
    starts, every = own["algorithm.learning_starts"], own["algorithm.update_every"]
    update = max(0, (min(syncs) - starts) // every) + 2
    return update, f"from update {update:,}, after the earlier copy into the target network"
