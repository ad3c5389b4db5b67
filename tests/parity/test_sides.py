"""What a user's file can get wrong, each in one sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from triptych.errors import SetupError
from triptych.parity import sides

GOOD = """
import torch
from torch import nn

def setup():
    model = nn.Linear(3, 2)
    return {
        "model": model,
        "optimizer": torch.optim.SGD(model.parameters(), 0.1),
        "loss": nn.MSELoss(),
        "batch": (torch.zeros(4, 3), torch.zeros(4, 2)),
    }
"""


def test_texts_are_told_apart(tmp_path: Path) -> None:
    assert sides.parse("a/train.py:setup") == sides.Side(
        "code", "a/train.py:setup", "a/train.py", "setup"
    )
    assert sides.parse("a/train.py:setup").name == "train"
    assert sides.parse("fruit").kind == "recipe"
    assert sides.parse("mine.yaml").kind == "recipe"
    assert sides.parse(str(tmp_path)).kind == "run"
    with pytest.raises(SetupError, match=r"names no function; write a.py:setup"):
        sides.parse("a.py")


def test_a_neighbour_can_be_imported(tmp_path: Path) -> None:
    (tmp_path / "rates_of_mine.py").write_text("RATE = 0.25\n")
    text = "from rates_of_mine import RATE\n" + GOOD.replace("0.1", "RATE")
    (tmp_path / "train.py").write_text(text)
    native = sides.build(sides.parse(f"{tmp_path}/train.py:setup"), "float32")
    assert native.framework == "torch"
    assert native.read()["optimizer.rate at update 0"] == 0.25


MISTAKES = {
    "no function": (GOOD.replace("def setup", "def setups"), r"no function 'setup' .*'setups'"),
    "syntax": ("def setup(:\n", "is no Python file, line 1"),
    "import": ("import numpy\nnumpy.nothing\n", r"AttributeError when it is imported \(line 2\)"),
    "raises": ("def setup():\n    x = {}\n    return x['a']\n", r"raises KeyError: 'a' \(line 3\)"),
    "no dict": ("def setup():\n    return 3\n", "returns int, expected a dict"),
    "lacks": (GOOD.replace('"loss": nn.MSELoss(),', ""), "lacks 'loss'"),
    "unknown": (GOOD.replace('"loss"', '"scheduller": 1, "loss"'), "did you mean 'scheduler'"),
    "model": (GOOD.replace('"model": model', '"model": 1'), "'model' is a builtins.int, expected"),
    "loss": (GOOD.replace("nn.MSELoss()", "'mse'"), "'loss' is 'mse', expected a function"),
    "batch": (GOOD.replace(", torch.zeros(4, 2))", ",)"), "'batch' is a tuple of 1, expected"),
    "sizes": (GOOD.replace("(4, 2)", "(5, 2)"), "4 inputs and 5 targets"),
    "numbers": (GOOD.replace("torch.zeros(4, 2)", "2"), "'batch' has a int as its target"),
    "shape": (GOOD.replace("(4, 3)", "(4, 7)"), r"can't take the batch's input of shape \(4, 7\)"),
    "optimizer": (
        GOOD.replace("torch.optim.SGD(model.parameters(), 0.1)", "'sgd'"),
        "'optimizer' is a builtins.str, expected a torch.optim.Optimizer",
    ),
    "other params": (
        GOOD.replace("SGD(model", "SGD(nn.Linear(3, 2)"), "holds none of the model's parameters",
    ),
    "same model": (
        GOOD.replace("    model =", "    other =").replace("def", "model = nn.Linear(3, 2)\ndef"),
        "'model' is the same object at every call",
    ),
    "unreduced": (GOOD.replace("MSELoss()", "MSELoss(reduction='none')"), "expected one number"),
}  # fmt: skip


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_is_one_sentence(tmp_path: Path, mistake: str) -> None:
    text, message = MISTAKES[mistake]
    (tmp_path / "train.py").write_text(text)
    with pytest.raises(SetupError, match=message) as caught:
        native = sides.build(sides.parse(f"{tmp_path}/train.py:setup"), "float64")
        native.restart(native.params())
        native.gradients(native.batch)
    assert "train.py" in str(caught.value) and "\n" not in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="there is no file"):
        sides.load(sides.parse(f"{tmp_path}/none.py:setup"))


def test_the_documented_setups_are_one_training() -> None:
    folder = Path(__file__).parents[2] / "examples" / "setups"
    built = [
        sides.build(sides.parse(f"{folder}/{name}_setup.py:setup"), "float64")
        for name in ("torch", "keras", "jax")
    ]
    assert [native.framework for native in built] == ["torch", "keras", "jax"]
    start, losses = built[0].params(), []
    for native in built:
        native.restart(start)
        losses.append([float(native.update(native.batch)) for _ in range(5)])
    assert losses[1] == pytest.approx(losses[0], rel=1e-12)
    assert losses[2] == pytest.approx(losses[0], rel=1e-12)
