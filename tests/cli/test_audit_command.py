"""``triptych audit`` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from terminal import triptych


def test_equal_recipes_leave_with_0(tmp_path: Path) -> None:
    done = triptych("audit", "fruit", "fruit", folder=tmp_path)
    assert done.code == 0 and "Equal: all" in done.out


def test_a_difference_leaves_with_1_and_says_what_to_do(tmp_path: Path) -> None:
    other = tmp_path / "mine.yaml"
    shipped = Path(__file__).parents[2] / "src" / "triptych" / "recipes" / "fruit.yaml"
    other.write_text(shipped.read_text().replace("epsilon: 1.0e-7", "epsilon: 1.0e-4"))
    done = triptych("audit", "fruit", str(other), folder=tmp_path)
    assert done.code == 1 and done.err == ""
    assert "optimizer.epsilon" in done.out and "triptych explain epsilon" in done.out
    data = json.loads(triptych("audit", "fruit", str(other), "--json", folder=tmp_path).out)
    (row,) = [row for row in data["factors"] if not row["equal"]]
    assert row["factor"] == "optimizer.epsilon" and row["from_update"] == 1
    assert (row["left"], row["right"]) == (1e-7, 1e-4) and row["fix"] and row["matters"]


def test_native_code_is_asked_in_processes_of_its_own(tmp_path: Path) -> None:
    folder = Path(__file__).parents[2] / "examples" / "setups"
    words = [f"{folder / f'{name}_setup.py'}:setup" for name in ("torch", "jax")]
    done = triptych("audit", *words, folder=tmp_path)
    assert done.code in (0, 1) and " factors" in done.out.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("fruit", "friut"), "fruit"),
        (("fruit", "nowhere.py:setup"), "nowhere.py"),
        (("fruit", "nowhere.py"), "setup"),
        (("fruit",), "B"),
    ],
)
def test_a_side_that_is_not_there_is_one_sentence(
    words: tuple[str, ...], said: str, tmp_path: Path
) -> None:
    done = triptych("audit", *words, folder=tmp_path)
    assert done.code == 2 and said in done.err
    assert "Traceback" not in done.err and done.out == ""
