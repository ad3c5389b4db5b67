"""A port from end to end: what is put in place, what fails, and that nothing is left behind."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from triptych.backends import registry
from triptych.backends.carried import Trained
from triptych.errors import PortError, StorageError
from triptych.port import kinds
from triptych.port.carry import carry
from triptych.port.onnx import PORTER as ONNX
from triptych.port.proof import Weighted, apart_by_example, inputs_of
from triptych.spec.initial import Initial
from triptych.spec.layers import LeakyReLU
from triptych.spec.network import Network
from triptych.spec.notation import parse

NETWORK = parse("6x5x2 -> conv 3 3x2 -> leaky_relu slope 0.25 -> flatten -> dense 4")


class Oracle:
    """A source whose runtime is PyTorch through our learner, to be twisted by the tests."""

    kind, runtime, dtypes = "torch", "the test's own", ("float32", "float64")

    def __init__(self, network: Network = NETWORK, **own: Any) -> None:
        drawn = Initial(bias=("normal", 0.3)).draw(NETWORK, seed=3)
        params = {name: array.astype("float32") for name, array in drawn.items()}
        self.own = Trained(NETWORK, params)
        self.trained = replace(self.own, network=network, **own)
        self.doubled = 1.0

    def learner(self, dtype: Any) -> Any:
        get = registry.get("torch").learner
        return get(self.own.network, self.own.params, objective=Weighted(), dtype=dtype)

    def outputs(self, observations: np.ndarray, dtype: Any) -> np.ndarray:
        return self.learner(dtype).outputs(observations)

    def layer_outputs(self, observations: np.ndarray, dtype: Any) -> Any:
        return self.learner(dtype).layer_outputs(observations)

    def gradients(self, observations: np.ndarray, weights: np.ndarray, dtype: Any) -> Any:
        batch = {"observation": observations, "weights": weights}
        found = self.learner(dtype).gradients(batch)
        return found | {"dense1/bias": found["dense1/bias"] * self.doubled}


def test_a_port_leaves_files_a_report_and_the_network(tmp_path: Path) -> None:
    out = tmp_path / "new" / "folder"
    done = carry(Oracle(), "torch", out, "small")
    assert done.proof.passed and done.out == out
    assert {"small.safetensors", "small.py", "network.json", "port.json"} <= set(os.listdir(out))
    report = json.loads((out / "port.json").read_text())
    keys = ("source", "target", "passed", "layers", "parameters", "forward", "out")
    assert [key for key in keys if key not in report] == []
    assert report["parameters"] == NETWORK.parameter_count == 235
    assert report["forward"]["float64"] <= 1e-12 and report["forward"]["float32"] <= 1e-5
    assert os.listdir(tmp_path / "new") == ["folder"]
    mask = os.umask(0)
    os.umask(mask)
    assert (out / "small.safetensors").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_file_is_put_beside_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    done = carry(Oracle(), "onnx", tmp_path / "net.onnx", "small")
    assert done.proof.passed
    found = set(os.listdir(tmp_path))
    assert found == {"mine.txt", "net.onnx", "net.network.json", "net.port.json"}


def test_a_layer_that_was_misread_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    layers = [replace(n, layer=LeakyReLU(0.26)) if "leaky" in n.name else n for n in NETWORK.nodes]
    places = {"leaky_relu1": "features.1"}
    wrong = Oracle(Network(tuple(layers)), places=places)
    done = carry(wrong, "torch", tmp_path / "a" / "b", "small")
    assert not done.proof.passed and done.out is None
    assert "first at leaky_relu1 (features.1)" in done.proof.reasons[0]
    assert os.listdir(tmp_path) == []


def test_a_gradient_that_differs_is_named(tmp_path: Path) -> None:
    wrong = Oracle()
    wrong.doubled = 1.0 + 1e-9
    done = carry(wrong, "torch", tmp_path / "a", "small")
    assert "gradient of dense1/bias" in " ".join(done.proof.reasons)
    assert os.listdir(tmp_path) == []


class OneBitOff:
    """ONNX' porter, which writes one array's numbers one last bit higher."""

    def __getattr__(self, name: str) -> Any:
        return getattr(ONNX, name)

    def write(self, trained: Trained, path: Path, title: str) -> list[Path]:
        higher = np.nextafter(trained.params["dense1/bias"], np.float32(np.inf))
        params = trained.params | {"dense1/bias": higher}
        return ONNX.write(replace(trained, params=params), path, title)


def test_arrays_are_compared_bit_by_bit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kinds, "porter", lambda kind: OneBitOff())
    done = carry(Oracle(), "onnx", tmp_path / "a", "small")
    assert "dense1/bias was not written as it is" in done.proof.reasons


def test_a_network_that_diverged_is_refused(tmp_path: Path) -> None:
    source = Oracle()
    params = dict(source.own.params)
    params["conv1/bias"] = params["conv1/bias"] * np.float32(np.nan)
    source.trained = replace(source.own, params=params)
    with pytest.raises(PortError, match=r"conv1/bias .* holds NaN"):
        carry(source, "torch", tmp_path / "a", "small")


def test_what_stands_there_is_kept_unless_forced(tmp_path: Path) -> None:
    out = tmp_path / "a"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    with pytest.raises(PortError, match="exists already"):
        carry(Oracle(), "onnx", out, "small")
    assert (out / "thesis.txt").read_text() == "mine"
    assert carry(Oracle(), "onnx", out, "small", force=True).proof.passed
    assert not (out / "thesis.txt").exists() and (out / "small.onnx").exists()


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="not a folder"):
        carry(Oracle(), "onnx", tmp_path / "file" / "a", "small")


def test_another_targets_ending_is_refused() -> None:
    with pytest.raises(PortError, match=r"end in \.keras, \.h5"):
        kinds.suffix("keras", Path("net.onnx"))
    with pytest.raises(PortError, match="did you mean 'torch'"):
        kinds.suffix("torhc", Path("net"))


# --- the measures ------------------------------------------------------------------------------


def test_a_small_example_is_not_hidden_by_a_large_one() -> None:
    left = np.array([[1000.0, 0.0], [1.0, 1.0]])
    right = left + np.array([[0.0, 0.0], [0.0, 1e-3]])
    assert apart_by_example(left, right) == pytest.approx(1e-3)
    assert apart_by_example(left, left[:, :1]) == float("inf")
    assert apart_by_example(left, left * np.nan) == float("inf")
    assert apart_by_example(np.zeros((2, 3)), np.zeros((2, 3))) == 0.0


def test_inputs_have_the_edges() -> None:
    real = inputs_of(NETWORK, seed=0)
    assert real.shape == (8, 6, 5, 2)
    assert (real[-2] == 0).all() and (real[-1] == 1).all()
    assert np.abs(real[4]).max() > 30 and 0 < np.abs(real[5]).max() < 1e-5
    words = inputs_of(parse("4 index -> embedding 7 3 -> flatten -> dense 2"), seed=0)
    assert words.min() == 0 and words.max() == 6 and words.dtype.kind == "i"
