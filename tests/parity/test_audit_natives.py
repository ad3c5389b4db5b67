"""The audit of users' own code: the twins' three differences, and none after the advised edits."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
import yaml

from triptych.backends import registry
from triptych.parity.audit import audit, rows
from triptych.parity.sides import parse

TWINS = Path(__file__).parents[2] / "examples" / "twins"
SETUPS = Path(__file__).parents[2] / "examples" / "setups"


@pytest.fixture(autouse=True)
def in_this_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Import the frameworks once, and draw the same params in every run.

    That an audit runs its sides apart is the command's test; one draw in some thousands looks like
    another initialiser, which no test should depend on.
    """
    torch = registry.get("torch") and pytest.importorskip("torch")
    torch.manual_seed(0)
    registry.get("keras")
    pytest.importorskip("keras").utils.set_random_seed(0)
    monkeypatch.setattr(
        rows, "run_all", lambda jobs, show: [rows.facts(*j.arguments) for j in jobs]
    )


def edited(folder: Path, *skip: str) -> Path:
    """A copy of the twins with the edits made, but for those whose reason begins with ``skip``."""
    shutil.copytree(TWINS, folder)
    for edit in yaml.safe_load((TWINS / "edits.yaml").read_text()):
        if not edit["why"].startswith(skip or ("nothing",)):
            file = folder / edit["file"]
            assert edit["find"] in file.read_text()
            file.write_text(file.read_text().replace(edit["find"], edit["write"]))
    return folder


def pages(folder: Path) -> set[str | None]:
    found = audit(
        parse(f"{folder / 'left_torch.py'}:setup"), parse(f"{folder / 'right_keras.py'}:setup")
    )
    assert len(found.rows) > 40
    return {row.page for row in found.different}


def test_the_twins_differ_in_three_ways() -> None:
    assert pages(TWINS) == {
        *("epsilon", "epsilon-place", "flatten-order", "initialiser", "bias-initialiser"),
    }


def test_the_edited_twins_are_equal(tmp_path: Path) -> None:
    assert pages(edited(tmp_path / "all")) == set()


@pytest.mark.parametrize(
    ("kept", "names"),
    [
        ("flatten order", {"flatten-order"}),
        ("epsilon", {"epsilon", "epsilon-place"}),
        ("initialiser", {"initialiser", "bias-initialiser"}),
    ],
)
def test_each_difference_is_found_alone(tmp_path: Path, kept: str, names: set[str]) -> None:
    assert pages(edited(tmp_path / "one", kept)) == names


@pytest.mark.parametrize("framework", ["torch", "jax", "keras"])
def test_a_setup_equals_itself(framework: str) -> None:
    side = parse(f"{SETUPS / f'{framework}_setup.py'}:setup")
    found = audit(side, side)
    assert len(found.rows) > 15 and found.different == ()
