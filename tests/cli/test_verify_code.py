"""``triptych verify --left --right`` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from terminal import triptych

TRAIN = """
import torch
from torch import nn

def make(slope, units=6):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, units), nn.LeakyReLU(slope), nn.Linear(units, 2))
    return {
        "model": model,
        "optimizer": torch.optim.Adam(model.parameters(), 0.01),
        "loss": nn.MSELoss(),
        "batch": (torch.rand(8, 3), torch.rand(8, 2)),
    }

def setup():
    return make(0.01)

def steeper():
    return make(0.2)

def wider():
    return make(0.01, 7)
"""


@pytest.fixture
def train(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(TRAIN)
    return path


def verify(train: Path, right: str, *more: str) -> tuple[int, str, str]:
    done = triptych(
        "verify",
        "--left",
        f"{train}:setup",
        "--right",
        f"{train}:{right}",
        "--updates",
        "20",
        *more,
    )
    return done.returncode, done.stdout, done.stderr


def test_equal_code_passes(train: Path, tmp_path: Path) -> None:
    code, out, _ = verify(train, "setup", "--json", "--out", str(tmp_path / "proof.json"))
    found = json.loads(out)
    assert code == 0 and found["passed"] and len(found["rungs"]) == 14
    assert found["updates"] == 20 and found["frameworks"] == ["torch", "torch"]
    assert json.loads((tmp_path / "proof.json").read_text())["passed"]


def test_a_slope_is_named(train: Path) -> None:
    code, out, _ = verify(train, "steeper", "--dtype", "float64")
    assert code == 1 and "dense1.activation: leaky_relu slope 0.01 and leaky_relu slope 0.2" in out


def test_sizes_that_do_not_fit_are_listed(train: Path) -> None:
    code, out, _ = verify(train, "wider", "--dtype", "float64")
    assert code == 1 and "left dense1/kernel is (3, 6) but right dense1/kernel is (3, 7)" in out


WRONG = {
    "one side": (["--left", "a.py:setup"], "--left and --right go together"),
    "both": (["fruit", "--left", "a.py:f", "--right", "a.py:f"], "both the recipe 'fruit' and"),
    "nothing": ([], "give a recipe, or --left"),
    "backends": (["--left", "a.py:f", "--right", "a.py:f", "--backends", "torch"], "--backends"),
    "weights": (["fruit", "--weights", "map.yaml"], "--weights goes with --left and --right"),
    "no file": (["--left", "a.py:f", "--right", "a.py:f"], "there is no file a.py"),
    "a recipe": (["--left", "fruit", "--right", "a.py:f"], "'fruit' is no setup"),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_request_is_one_sentence(wrong: str) -> None:
    words, message = WRONG[wrong]
    done = triptych("verify", *words)
    assert done.returncode == 2 and message in done.stderr and "Traceback" not in done.stderr
