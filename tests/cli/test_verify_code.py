"""``triptych verify --left --right`` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from terminal import Answer, triptych

TRAIN = """
import torch
from torch import nn

def make(slope):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 6), nn.LeakyReLU(slope), nn.Linear(6, 2))
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
"""


@pytest.fixture
def train(tmp_path: Path) -> Path:
    path = tmp_path / "train.py"
    path.write_text(TRAIN)
    return path


def verify(train: Path, right: str, *more: str) -> Answer:
    sides = ["--left", "train.py:setup", "--right", f"train.py:{right}", "--updates", "20"]
    return triptych("verify", *sides, *more, folder=train.parent)


def test_equal_code_passes(train: Path) -> None:
    answer = verify(train, "setup", "--json", "--out", "proof.json")
    found = answer.json
    assert answer.code == 0 and found["passed"] and len(found["rungs"]) == 14
    assert found["updates"] == 20 and found["frameworks"] == ["torch", "torch"]
    assert json.loads((train.parent / "proof.json").read_text())["passed"]


def test_a_slope_is_named(train: Path) -> None:
    answer = verify(train, "steeper", "--dtype", "float64")
    assert answer.code == 1
    assert "dense1.activation: leaky_relu slope 0.01 and leaky_relu slope 0.2" in answer.out


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
def test_a_wrong_request_is_one_sentence(wrong: str, tmp_path: Path) -> None:
    words, message = WRONG[wrong]
    assert message in triptych("verify", *words, folder=tmp_path).check_refused()
