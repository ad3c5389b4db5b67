"""``triptych port`` as a user meets it: runs, files, code, structures, wrong requests."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from triptych.cli import main
from triptych.runs.folder import RunFolder

FRUIT = [
    "fruit", "--set", "task.grid=5", "--set", "budgets.published.episodes=60",
    "--set", "logging.checkpoint=60",
]  # fmt: skip
MODEL = """
import torch
from torch import nn

def make():
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(2, 3, (3, 2), stride=(2, 1), padding=1), nn.ReLU6(), nn.Flatten(),
        nn.Linear(3 * 3 * 6, 4),
    )

def rows():
    torch.manual_seed(2)
    return nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 4))

def trained():
    model = make()
    return {"model": model, "optimizer": None, "loss": None, "batch": (torch.zeros(2, 2, 6, 5), 0)}
"""
IMAGES = "6x5x2 -> conv 3 3x2/2x1 pad 1 relu6 -> flatten -> dense 4"
NOTATION = "6 -> dense 5 tanh -> dense 4"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "fruit"
    assert main(["train", *FRUIT, "--backend", "torch", "--out", str(folder)]) == 0
    return folder


@pytest.fixture(scope="module")
def code(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("code") / "mine.py"
    path.write_text(MODEL)
    return path


def ported(capsys: pytest.CaptureFixture[str], *words: str) -> dict:
    code = main(["port", *words, "--json"])
    out = capsys.readouterr()
    assert code == 0, out
    found: dict = json.loads(out.out)
    assert found["passed"] and Path(found["out"]).exists()
    assert found["forward"]["float32"] <= 1e-5
    return found


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(["port", *words]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.count("\n") == 1, captured.err
    return captured.err


def test_a_run_is_ported_with_its_optimizer(run: Path, tmp_path: Path, capsys) -> None:
    found = ported(capsys, str(run), "--to", "torch", "--out", str(tmp_path / "a"))
    assert found["source"] == "triptych" and found["target"] == "torch"
    assert found["layers"] == 8 and found["parameters"] > 1000
    assert found["forward"]["float64"] <= 1e-12 and found["slots"] == "carried"
    found = ported(capsys, str(run), "--to", "onnx", "--out", str(tmp_path / "net.onnx"))
    assert found["slots"] == "left" and "optimizer" in " ".join(found["notes"])


def test_a_port_of_a_run_is_the_runs_params(run: Path, tmp_path: Path, capsys) -> None:
    ported(capsys, str(run), "--to", "torch", "--out", str(tmp_path / "net.pt"))
    held = torch.load(tmp_path / "net.pt", weights_only=True)
    kernel = RunFolder.open(run).params()["dense1/kernel"]
    arrays = [v.numpy() for v in _arrays(held)]
    assert any(a.shape == kernel.T.shape and np.array_equal(a, kernel.T) for a in arrays)


def test_what_inspect_wrote_is_ported(run: Path, tmp_path: Path, capsys) -> None:
    assert (
        main(["inspect", "convert", str(run), "--to", "conv", "--out", str(tmp_path / "conv")]) == 0
    )
    capsys.readouterr()
    found = ported(capsys, str(tmp_path / "conv"), "--to", "torch", "--out", str(tmp_path / "a"))
    assert found["source"] == "triptych" and found["slots"] == "none"
    plain = json.loads((tmp_path / "conv" / "network.json").read_text())
    plain["nodes"][1]["options"]["filters"] += 1
    (tmp_path / "conv" / "network.json").write_text(json.dumps(plain))
    words = [str(tmp_path / "conv"), "--to", "torch", "--out", str(tmp_path / "b")]
    assert "network.json says" in refused(capsys, *words)


def _arrays(value: object) -> list[torch.Tensor]:
    if isinstance(value, torch.Tensor):
        return [value]
    return [a for v in value.values() for a in _arrays(v)] if isinstance(value, dict) else []


def test_code_is_ported(code: Path, tmp_path: Path, capsys) -> None:
    make = ["--input", "6x5x2"]
    found = ported(capsys, f"{code}:make", "--to", "onnx", *make, "--out", str(tmp_path / "a.onnx"))
    assert found["source"] == "torch"
    ported(capsys, f"{code}:trained", "--to", "onnx", "--out", str(tmp_path / "b.onnx"))
    again = ported(capsys, str(tmp_path / "a.onnx"), "--to", "torch", "--out", str(tmp_path / "c"))
    assert again["source"] == "onnx" and again["parameters"] == found["parameters"]


@pytest.mark.parametrize("structure", ["code", "notation", "json"])
def test_arrays_alone_need_a_structure(structure: str, code: Path, tmp_path: Path, capsys) -> None:
    torch.manual_seed(5)
    namespace: dict = {}
    exec(MODEL, namespace)
    torch.save(namespace["rows"]().state_dict(), tmp_path / "mine.pt")
    words = [str(tmp_path / "mine.pt"), "--to", "onnx", "--out", str(tmp_path / "out.onnx")]
    assert "--network" in refused(capsys, *words)
    assert not (tmp_path / "out.onnx").exists()
    beside = {"code": [f"{code}:rows", "--input", "6"], "notation": [NOTATION]}
    if structure == "json":
        ported(capsys, *words, "--network", NOTATION)
        beside["json"] = [str(tmp_path / "out.network.json")]
        words.append("--force")
    found = ported(capsys, *words, "--network", *beside[structure])
    assert found["parameters"] == 6 * 5 + 5 + 5 * 4 + 4


def test_an_order_that_a_file_leaves_open_is_not_guessed(tmp_path: Path, capsys) -> None:
    namespace: dict = {}
    exec(MODEL, namespace)
    torch.save(namespace["make"]().state_dict(), tmp_path / "mine.pt")
    words = [str(tmp_path / "mine.pt"), "--to", "onnx", "--out", str(tmp_path / "out")]
    assert "file.py:function" in refused(capsys, *words, "--network", IMAGES)


def test_a_person_reads_what_came_of_it(code: Path, tmp_path: Path, capsys) -> None:
    words = [f"{code}:trained", "--to", "torch", "--out", str(tmp_path / "a")]
    assert main(["port", *words]) == 0
    out = capsys.readouterr().out
    assert "Ported and proven against" in out and "gradients float64" in out


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["nothing.onnx", "--to", "torch"], "there is no file nothing.onnx"),
        (["mine.py:make", "--to", "tf"], "nothing can be ported to 'tf'"),
        (["mine.py:mak", "--to", "torch"], "did you mean 'make'"),
        (["mine.py", "--to", "torch"], "names no function"),
        (["mine.py:make", "--to", "torch"], "--input"),
        (["mine.py:make", "--to", "torch", "--input", "0x3"], "expected a shape"),
        (["notes.txt", "--to", "torch"], "is of no kind that can be read"),
        (["empty", "--to", "torch"], "neither a run"),
        (["odd.safetensors", "--to", "torch"], "neither PyTorch's nor Flax' arrays"),
        (["huge.safetensors", "--to", "torch"], "announces"),
        (["text.safetensors", "--to", "torch"], "not a readable safetensors file"),
    ],
)
def test_wrong_requests(
    words: list[str], sentence: str, code: Path, tmp_path: Path, capsys, monkeypatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(MODEL)
    Path("notes.txt").write_text("hello")
    Path("empty").mkdir()
    from safetensors.numpy import save_file

    save_file({"a": np.zeros(3)}, "odd.safetensors")
    Path("huge.safetensors").write_bytes((10_000_000_000).to_bytes(8, "little") + b"{}")
    Path("text.safetensors").write_bytes((6).to_bytes(8, "little") + b"[1, 2]")
    before = sorted(os.listdir())
    try:
        said = refused(capsys, *words, "--out", "out")
    except SystemExit as left:
        assert left.code == 2
        said = capsys.readouterr().err
    assert sentence in said, said
    assert "Traceback" not in said
    assert [n for n in sorted(os.listdir()) if n != "__pycache__"] == before
