"""The ladder between two setups of users' own: the twins, their edits, and what does not fit."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from triptych.backends.native import NativeNode
from triptych.engines.processes import Job
from triptych.errors import SetupError
from triptych.parity import matching, native_ladder
from triptych.parity.native_subject import DrawnBatches
from triptych.parity.rungs import first_red

TWINS = Path(__file__).parents[2] / "examples" / "twins"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs run in this process: starting another costs more than they do."""

    def run_all(jobs: Sequence[Job], show: bool) -> list[Any]:
        return [job.function(*job.arguments, lambda *told: None) for job in jobs]

    monkeypatch.setattr(native_ladder, "run_all", run_all)


def edited(folder: Path, without: str = "nothing") -> Path:
    """Copy the twins with the edits of ``edits.yaml`` made, but those whose reason begins so."""
    shutil.copytree(TWINS, folder, ignore=shutil.ignore_patterns("__pycache__"))
    for edit in yaml.safe_load((TWINS / "edits.yaml").read_text()):
        text = (folder / edit["file"]).read_text()
        assert text.count(edit["find"]) == 1, edit["why"]
        if not edit["why"].startswith(without):
            (folder / edit["file"]).write_text(text.replace(edit["find"], edit["write"]))
    return folder


def climb(folder: Path, **options: Any) -> native_ladder.NativeCertificate:
    sides = (f"{folder}/left_torch.py:setup", f"{folder}/right_keras.py:setup")
    return native_ladder.climb(*sides, show=False, **options)


def test_the_twins_differ_as_their_readme_says() -> None:
    found = climb(TWINS, dtypes=("float64",), lockstep=5)
    red = first_red(found.verdicts)
    assert red is not None and red.rung == 0 and not found.passed
    for factor in ("flatten1.order", "optimizer.epsilon:", "optimizer.epsilon_before_correction"):
        assert factor in red.detail
    outputs = found.verdicts[2]
    assert outputs.rung == 2 and outputs.culprit == "flatten1"


def test_the_edits_make_them_equal(tmp_path: Path) -> None:
    found = climb(edited(tmp_path / "twins"), lockstep=60)
    assert found.passed, found.sentence()
    assert len(found.verdicts) == 14 and found.frameworks == ("torch", "keras")
    assert found.as_dict()["weights"]["dense2/bias"] == "dense2/bias"


def test_epsilon_alone_is_seen(tmp_path: Path) -> None:
    found = climb(edited(tmp_path / "twins", "epsilon"), dtypes=("float64",), lockstep=5)
    passed = [verdict.rung for verdict in found.verdicts if verdict.passed]
    assert passed == [1, 2, 3, 4]


SIZES = """
import torch
from torch import nn

def setup(units=6):
    model = nn.Sequential(nn.Linear(3, units), nn.ReLU(), nn.Linear(units, 2))
    return {
        "model": model,
        "optimizer": torch.optim.Adam(model.parameters(), 0.01),
        "loss": nn.MSELoss(),
        "batch": (torch.zeros(8, 3), torch.zeros(8, 2)),
    }

def wider():
    return setup(7)

def frozen():
    found = setup()
    found["optimizer"] = torch.optim.Adam(found["model"][2].parameters(), 0.01)
    return found
"""


def test_models_of_other_sizes_stop_at_rung_1(tmp_path: Path) -> None:
    (tmp_path / "sizes.py").write_text(SIZES)
    sides = (f"{tmp_path}/sizes.py:setup", f"{tmp_path}/sizes.py:wider")
    found = native_ladder.climb(*sides, dtypes=("float64",), show=False)
    assert [(verdict.rung, verdict.passed) for verdict in found.verdicts] == [
        (0, False),
        (1, False),
    ]
    assert (
        "left dense1/kernel is (3, 6) but right dense1/kernel is (3, 7)" in found.verdicts[1].detail
    )
    assert found.verdicts[0].culprit == "dense1.units"


def test_what_one_side_freezes_is_a_factor(tmp_path: Path) -> None:
    (tmp_path / "sizes.py").write_text(SIZES)
    sides = (f"{tmp_path}/sizes.py:setup", f"{tmp_path}/sizes.py:frozen")
    found = native_ladder.climb(*sides, dtypes=("float64",), lockstep=3, show=False)
    red = first_red(found.verdicts)
    assert red is not None and red.culprit == "trainable"
    assert "only one side trains dense1/kernel, dense1/bias" in found.notes


def node(name: str, **shapes: tuple[int, ...]) -> NativeNode:
    return NativeNode(name, name.rstrip("0123456789"), name, {}, shapes, tuple(shapes))


LEFT = (node("dense1", kernel=(3, 4), bias=(4,)), node("dense2", kernel=(4, 4), bias=(4,)))


def test_arrays_match_by_order() -> None:
    found = matching.match(LEFT, LEFT, {})
    assert found.arrays["dense2/kernel"] == "dense2/kernel" and not found.problems
    crossed = matching.match(
        LEFT[:1], (node("dense7", kernel=(3, 4), bias=(4,)),), {"dense1": "dense7"}
    )
    assert crossed.arrays == {"dense1/kernel": "dense7/kernel", "dense1/bias": "dense7/bias"}
    single = matching.match(
        LEFT, LEFT, {"dense1/bias": "dense2/bias", "dense2/bias": "dense1/bias"}
    )
    assert single.arrays["dense1/bias"] == "dense2/bias" and not single.problems


def test_unknown_layers_match_by_their_shapes() -> None:
    left, right = (node("unknown1", a=(2,), b=(3,)),), (node("unknown1", x=(2,), y=(3,)),)
    found = matching.match(left, right, {})
    assert found.arrays == {"unknown1/a": "unknown1/x", "unknown1/b": "unknown1/y"}


def test_what_does_not_fit_is_listed() -> None:
    right = (node("dense1", kernel=(3, 5), bias=(4,)),)
    found = matching.match(LEFT, right, {})
    assert found.problems[0] == "left dense1/kernel is (3, 4) but right dense1/kernel is (3, 5)"
    assert "left dense2/bias (4,) has no partner" in found.problems
    text = matching.explain(found.problems, *map(matching.shapes_of, (LEFT, right)))
    assert "left: dense1/kernel (3, 4)" in text and "right: dense1/kernel (3, 5)" in text
    with pytest.raises(SetupError, match=r"right has no 'dense9'.*did you mean 'dense1'"):
        matching.match(LEFT, right, {"dense1": "dense9"})


@pytest.mark.parametrize("text", ["- a\n", "a: [1\n", "a: 3\n"])
def test_a_map_must_be_names(tmp_path: Path, text: str) -> None:
    (tmp_path / "map.yaml").write_text(text)
    with pytest.raises(SetupError, match="--weights"):
        matching.read_weights(tmp_path / "map.yaml")


def test_batches_are_the_users_examples() -> None:
    batch = {"input": np.arange(12, dtype=np.int64).reshape(4, 3), "target": np.arange(4.0)}
    draws = DrawnBatches(batch, 5, seed=3)
    first, again = next(iter(draws)), next(iter(draws))
    assert np.array_equal(first["input"], again["input"])
    assert np.array_equal(first["input"][:, 0], 3 * first["target"])
    real = DrawnBatches(batch | {"input": batch["input"] / 7}, 5, seed=3)
    moved = next(iter(real))["input"] * 7
    assert not np.array_equal(moved, first["input"]) and np.abs(moved - first["input"]).max() < 3
