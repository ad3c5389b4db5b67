"""Two sides set beside each other: a row for each factor, with what it does and how to align it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any

from triptych.backends import registry
from triptych.engines.processes import Job, Tell, run_all
from triptych.engines.setup import load_recipe, recipe_of
from triptych.parity import sides
from triptych.parity.audit import natives, recipes
from triptych.parity.audit.natives import Facts, close
from triptych.parity.audit.when import rates, when
from triptych.parity.sides import Side
from triptych.runs.folder import RunFolder
from triptych.spec import catalogue

_NEUTRAL: dict[str, tuple[Any, ...]] = {
    "optimizer.bias_correction": (True,),
    "loss.factor": (1.0,),
    "loss.from_logits": (True,),
}
"""Values that say no more than a side without the key; others' are none, False and 0."""


_NEAR = 0.4
"""How far the ends of two batches' ranges may lie apart, in ranges: batches are samples, but a
shift by half a range or another scale is a factor."""


@dataclass(frozen=True)
class Row:
    """One factor.

    Attributes:
        factor: the audit key, such as ``optimizer.epsilon``.
        left, right: the two values; None where a side has no such factor.
        equal: whether they are, numbers to 1e-3 where probing told them.
        matters: whether and from when the difference acts; empty where there is none.
        from_update: the first update that shows it, 0 for before any; None where there is none.
        fix: what to change on the right; empty where there is nothing to change.
        page: the factor's page: ``triptych explain PAGE``.
    """

    factor: str
    left: Any
    right: Any
    equal: bool
    matters: str = ""
    from_update: int | None = None
    fix: str = ""
    page: str | None = None


@dataclass(frozen=True)
class Audit:
    """All rows of two sides, and what could not be seen."""

    left: str
    right: str
    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def different(self) -> tuple[Row, ...]:
        """The rows that differ."""
        return tuple(row for row in self.rows if not row.equal)

    def as_dict(self) -> dict[str, Any]:
        """As plain data: what ``audit --json`` prints."""
        return {
            "left": self.left,
            "right": self.right,
            "equal": not self.different,
            "factors": [asdict(row) for row in self.rows],
            "notes": list(self.notes),
        }


def audit(left: Side, right: Side) -> Audit:
    """Return the audit of two sides: recipes, run folders, or users' native code.

    Native code is asked in processes of its own, one for each side.

    Raises:
        TriptychError: a side can't be read; the message names it.
    """
    sides_ = (left, right)
    if any(side.kind == "code" for side in sides_):
        known = run_all([Job(side.text, _alone, (side,)) for side in sides_], show=False)
    else:
        known = [facts(side) for side in sides_]
    notes = tuple(note for side in known for note in side.notes)
    return Audit(left.text, right.text, tuple(compare(*known)), notes)


def _alone(side: Side, tell: Tell) -> Facts:
    """Return what is known of a side, in a process that loads its framework and no other."""
    registry.load_one_only()
    return facts(side)


def facts(side: Side) -> Facts:
    """Return what is known of a side."""
    if side.kind == "code":
        return natives.of_native(sides.build(side, "float64"))
    if side.kind == "run":
        folder = RunFolder.open(side.path)
        return Facts(recipes.of_run(folder), schedule=recipe_of(folder).optimizer.rate.value)
    recipe = load_recipe(side.path)
    return Facts(recipes.of_recipe(recipe), schedule=recipe.optimizer.rate.value)


def compare(left: Facts, right: Facts) -> list[Row]:
    """Return the rows of two sides' factors."""
    sides_ = [_factors(left), _factors(right)]
    return [_row(key, left, right, *(side.get(key) for side in sides_)) for key in _shared(*sides_)]


def _factors(side: Facts) -> dict[str, Any]:
    """Return a side's factors with its rates in one: a number, or several by their updates."""
    known = rates(side)
    if not known:
        return side.factors
    found: dict[str, Any] = {}
    for key, value in side.factors.items():
        if not key.startswith("optimizer.rate at update "):
            found[key] = value
        elif "optimizer.rate" not in found:
            found["optimizer.rate"] = _rate(known)
    return found


def _rate(known: Mapping[int, float]) -> float | str:
    if len(set(known.values())) == 1:
        return known[0]
    pairs = sorted(known.items())
    told = pairs[:1] + [new for old, new in pairwise(pairs) if new[1] != old[1]]
    return ", ".join(f"{rate:.6g} at update {count + 1:,}" for count, rate in told)


def _shared(left: Mapping[str, Any], right: Mapping[str, Any]) -> list[str]:
    """Return the keys to compare: those of both sides, and what a side lacks where that says more.

    A layer that one side lacks is one row, its kind; another rule or loss is one row, and its
    constants are none. What belongs to agent and task is compared where both sides have any.
    """
    head = _other_head(left, right)
    return [
        key
        for key in dict.fromkeys([*left, *right])
        if ((key in left and key in right) or _lack_counts(key, left, right))
        and key.partition(".")[0].partition("/")[0] not in head
    ]


def _other_head(left: Mapping[str, Any], right: Mapping[str, Any]) -> set[str]:
    """Return the layers that differ because one side has a dueling head, which is a factor."""
    sides = [side for side in (left, right) if "algorithm.dueling" in side]
    if len(sides) < 2 or left["algorithm.dueling"] == right["algorithm.dueling"]:
        return set()
    split = next(side for side in sides if side["algorithm.dueling"])
    return {"dueling1", *split["dueling1.inputs"].split(", ")}


def _lack_counts(key: str, left: Mapping[str, Any], right: Mapping[str, Any]) -> bool:
    """Whether a key that one side lacks is a difference of its own."""
    group, _, name = key.partition(".")
    of_kind = {"optimizer": "optimizer.rule", "loss": "loss.kind"}
    if group in of_kind:
        value = left.get(key, right.get(key))
        alike = left.get(of_kind[group]) == right.get(of_kind[group])
        return alike and value not in _NEUTRAL.get(key, (None, False, 0.0))
    if key.startswith("algorithm.prioritised."):  # priorities or none are one row
        return False
    if name == "kind":
        return True
    wide = ("algorithm", "task", "budget", "version")
    return group in wide and all(any(k.startswith(f"{group}.") for k in s) for s in (left, right))


def _row(key: str, left: Facts, right: Facts, a: Any, b: Any) -> Row:
    page = catalogue.of_key(_page_key(key, left, right), a, b)
    name = page.name if page else None
    if _same(key, left, right, a, b):
        return Row(key, a, b, True, page=name)
    update, sentence = when(key, left, right)
    return Row(key, a, b, False, sentence, update, _fix(key, a, page, right.framework), name)


def _same(key: str, left: Facts, right: Facts, a: Any, b: Any) -> bool:
    """Whether two values are one, initialisers as far as their values tell."""
    drawn = [side.drawn[key] for side in (left, right) if key in side.drawn]
    if len(drawn) == 2:
        return natives.alike(*drawn)
    if key in ("batch.low", "batch.high") and None not in (a, b):
        return abs(a - b) <= _NEAR * (left.factors["batch.high"] - left.factors["batch.low"])
    if drawn:
        return a in drawn[0].alternatives or b in drawn[0].alternatives or a == b
    return close(a, b)


def _page_key(key: str, left: Facts, right: Facts) -> str:
    """Return the key a page is looked up by: rates that begin alike are about the schedule."""
    if key != "optimizer.rate":
        return key
    begin = [rates(side).get(0) for side in (left, right)]
    return "optimizer.schedule" if close(*begin) else "optimizer.rate at update 0"


def _fix(key: str, wanted: Any, page: catalogue.Factor | None, framework: str) -> str:
    """Return what to change on the right: the value, and the page's advice in its words."""
    change = f"on the right make {key} {wanted}"
    if wanted is None:
        change = f"on the right do without {key}"
    advice = page.fix.get(framework) or page.fix.get("any") if page else None
    return f"{change}: {advice}" if advice else change
