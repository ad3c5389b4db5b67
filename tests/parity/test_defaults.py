"""The frameworks' defaults, probed here and now, against the committed table."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from triptych.backends import registry
from triptych.cli.defaults import text
from triptych.errors import BackendError
from triptych.parity import defaults
from triptych.spec.catalogue import factors

ROOT = Path(__file__).parents[2]
SNAPSHOT = json.loads((ROOT / "docs/results/defaults.json").read_text())
COLUMNS = list(defaults.COLUMNS)


def differing(found: Sequence[dict[str, Any]], kept: Sequence[dict[str, Any]]) -> list[str]:
    """A sentence for every row and column that answers otherwise than the committed table."""
    old = {row["key"]: row for row in kept}
    new = {row["key"]: row for row in found}
    sentences = [f"{key}: no such row any more" for key in old if key not in new]
    for key, row in new.items():
        before = old.get(key, {})
        sentences += [
            f"{key} of {name}: {row[name]!r}, but the committed table says {before.get(name)!r}"
            for name in row
            if key not in old or row[name] != before.get(name)
        ]
    return sentences


@pytest.fixture(scope="module")
def rows() -> list[dict[str, Any]]:
    return defaults.table()


def test_the_installed_frameworks_answer_as_committed(rows: list[dict[str, Any]]) -> None:
    assert differing(rows, SNAPSHOT["rows"]) == [], "run: triptych defaults --json"


def test_every_row_has_a_page_to_be_explained_by(rows: list[dict[str, Any]]) -> None:
    known = {factor.name for factor in factors()}
    assert {row["factor"] for row in rows} <= known


def test_what_is_known_to_differ_is_there(rows: list[dict[str, Any]]) -> None:
    """Rows of the list of silent differences that were read from the frameworks' sources."""
    by_key = {row["key"]: [row[name] for name in ("torch", "keras", "jax")] for row in rows}
    assert by_key["dense/kernel.initial"] == ["fan_in_uniform", "glorot_uniform", "lecun_normal"]
    assert by_key["batch_norm.epsilon"] == [1e-5, 1e-3, 1e-5]
    assert by_key["batch_norm.unbiased"] == [True, False, False]
    assert by_key["adam.epsilon"] == [1e-8, 1e-7, 1e-8]
    assert by_key["adam.epsilon_place"][1] == "before bias correction"
    assert by_key["rmsprop.epsilon_place"] == [
        "outside the root", "inside the root", "inside the root"]  # fmt: skip
    assert by_key["momentum.rate_in_buffer"] == [False, True, False]
    assert by_key["clip by norm"][1] == "per variable"
    assert by_key["decay of adam"] == ["added to the gradient", "decoupled", None]


def test_a_changed_default_is_named() -> None:
    changed = json.loads(json.dumps(SNAPSHOT["rows"]))
    changed[0]["torch"] = "zeros"
    key, before = changed[0]["key"], SNAPSHOT["rows"][0]["torch"]
    assert differing(changed, SNAPSHOT["rows"]) == [
        f"{key} of torch: 'zeros', but the committed table says {before!r}"
    ]
    assert differing(changed[1:], SNAPSHOT["rows"]) == [f"{key}: no such row any more"]


def test_answers_come_from_the_objects() -> None:
    """A maker with another constant changes the answer: nothing is typed in."""
    asked = defaults._questions()
    made = registry.defaults("numpy")["batch_norm"]()
    other = SimpleNamespace(
        arrays=made.arrays,
        call=lambda x, training: made.call(x * 2.0, training),
        moved=lambda x: {k: (made.arrays[k] + v) / 2.0 for k, v in made.moved(x).items()},
    )
    assert asked["batch_norm"](made)["batch_norm.keep"] == 0.99
    assert asked["batch_norm"](other)["batch_norm.keep"] == 0.995
    assert asked["batch_norm"](other)["batch_norm.epsilon"] == pytest.approx(2.5e-4)

    def per_variable(gradients: Any, start: Any, first: int) -> Any:
        return [{k: start[k] - g / max(np.linalg.norm(g), 1.0) for k, g in gradients[0].items()}]

    assert asked["clip by norm"](SimpleNamespace(play=per_variable)) == {
        "clip by norm": "per variable"
    }


def test_the_table_marks_where_frameworks_part() -> None:
    shown = text(SNAPSHOT["rows"], COLUMNS).splitlines()
    marked = {line.split()[2] for line in shown if line.startswith("*")}
    assert "batch_norm.epsilon" in marked
    assert "elu" not in marked
    assert len(shown) == len(SNAPSHOT["rows"]) + 1


def test_unknown_frameworks_are_refused() -> None:
    with pytest.raises(BackendError, match="unknown framework 'numpy'; defaults are probed of"):
        defaults.table(["numpy"])
