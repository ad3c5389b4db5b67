"""``triptych inspect``: two runs unit by unit, and a run's network in other forms."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from triptych.cli import main
from triptych.engines import local, setup
from triptych.runs import arrays
from triptych.runs.files import fingerprint
from triptych.runs.folder import RunFolder
from triptych.spec.network import Network
from triptych.spec.plain import from_plain
from triptych.testing.cases import NetworkCase

pytest.importorskip("torch")
VALUES = [
    "task.grid=5",
    "network=5x5x1 -> conv 4 3x3 no bias -> batch_norm relu -> conv 3 2x2/2 pad same relu "
    "-> flatten -> dense 8 relu -> dense 3",
    "algorithm.batch=8",
    "algorithm.learning_starts=8",
    "budgets.published.episodes=20",
]


def train(path: Path, seed: int, *more: str) -> None:
    recipe = setup.load_recipe("fruit", [*VALUES, *more])
    local.start(recipe, "torch", seed, path, dtype="float64").run()


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with runs of two seeds, and one of another network."""
    folder = tmp_path_factory.mktemp("looked at")
    train(folder / "a", 0)
    train(folder / "b", 1)
    train(folder / "other", 0, "network=5x5x1 -> flatten -> dense 4 tanh -> dense 3")
    return folder


@pytest.fixture(autouse=True)
def _there(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(runs)


def answer(capsys: pytest.CaptureFixture[str], *words: str, code: int = 0) -> Any:
    assert main(["inspect", *words, "--json"]) == code
    return json.loads(capsys.readouterr().out)


def test_align_finds_more_in_common(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "align", "a", "b")
    assert [row["layer"] for row in found["layers"]] == ["conv1", "conv2", "dense1", "dense2"]
    assert [row["units"] for row in found["layers"]] == [4, 3, 8, 3]
    assert 0.0 <= found["outputs"] < 1e-12
    for row in found["layers"][:3]:
        assert sorted(row["permutation"]) == list(range(row["units"]))
        assert len(row["scales"]) == row["units"]
    assert found["layers"][3]["permutation"] is None
    hidden = found["layers"][:3]
    assert sum(row["similarity"] - row["before"] for row in hidden) > 0.3

    assert main(["inspect", "align", "a", "b"]) == 0
    text = capsys.readouterr().out.splitlines()
    assert text[0].split() == ["layer", "units", "moved", "similarity", "aligned", "lowest"]
    assert text[-1].startswith("Aligned, b gives the same outputs as before within ")


def shuffled(run: Path, order: list[int]) -> None:
    """Write a run's params with the units of dense1 in another order."""
    folder = RunFolder.open(run)
    params = folder.params()
    params["dense1/kernel"] = params["dense1/kernel"][:, order]
    params["dense1/bias"] = params["dense1/bias"][order]
    params["dense2/kernel"] = params["dense2/kernel"][order]
    with open(run / "params.safetensors", "wb") as handle:
        arrays.write(handle, params)
    folder.update(params=fingerprint(run / "params.safetensors"))


def test_align_finds_the_same_units(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    train(runs / "twin", 0)
    order = [3, 0, 7, 1, 6, 2, 5, 4]
    shuffled(runs / "twin", order)
    dense = answer(capsys, "align", "a", "twin")["layers"][2]
    assert dense["permutation"] == np.argsort(order).tolist()
    assert dense["similarity"] == pytest.approx(1.0) and dense["before"] < 0.9


def written(folder: str) -> tuple[Network, dict[str, np.ndarray]]:
    network = from_plain(json.loads(Path(folder, "network.json").read_text()))
    return network, arrays.read(Path(folder, "params.safetensors"))


def check_same_outputs(folder: str) -> Network:
    from triptych.backends import registry

    network, params = written(folder)
    run = RunFolder.open("a")
    old = setup.recipe_of(run).network
    x = NetworkCase("looked at", old).observations("x")
    torch = registry.get("torch")
    got = torch.learner(network, params, dtype="float64").outputs(x)
    expected = torch.learner(old, run.params(), dtype="float64").outputs(x)
    np.testing.assert_allclose(got.reshape(expected.shape), expected, rtol=0, atol=1e-12)
    return network


def test_fold_writes_a_network_without_batch_norm(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "fold", "a", "--out", "folded")
    assert found["folded"] == {"batch_norm1": "conv1"} and found["left"] == {}
    assert found["outputs"] < 1e-12 and found["out"] == "folded"
    network = check_same_outputs("folded")
    assert "batch_norm" not in {node.layer.kind for node in network.nodes}


def test_convert_both_ways(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "convert", "a", "--to", "conv", "--out", "convs")
    assert found["converted"] == ["dense1", "dense2"]
    kinds = [node.layer.kind for node in check_same_outputs("convs").nodes]
    assert "dense" not in kinds and kinds[-1] == "flatten"
    found = answer(capsys, "convert", "a", "--to", "dense", "--out", "flat")
    assert found["converted"] == ["conv1", "conv2"]
    assert "conv" not in {node.layer.kind for node in check_same_outputs("flat").nodes}
    assert (
        main(["inspect", "convert", "a", "--to", "dense", "--node", "conv2", "--out", "one"]) == 0
    )
    text = capsys.readouterr().out
    assert text.startswith("conv2 is dense now\noutputs differ by ")
    assert text.endswith("one: network.json, params.safetensors\n")
    kinds = [node.layer.kind for node in check_same_outputs("one").nodes]
    assert kinds.count("conv") == 1


def test_nothing_to_do_is_a_no(capsys: pytest.CaptureFixture[str]) -> None:
    found = answer(capsys, "fold", "other", "--out", "x", code=1)
    assert found["out"] is None and found["folded"] == {}
    assert main(["inspect", "convert", "other", "--to", "dense", "--out", "x"]) == 1
    out = capsys.readouterr().out
    assert out == "there is no layer to convert\nNothing was written.\n"
    assert not Path("x").exists()


def test_wrong_outputs_are_not_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from triptych.inspect import fold

    line = fold._line
    monkeypatch.setattr(fold, "_line", lambda *given: (line(*given)[0], line(*given)[1] + 1e-6))
    found = answer(capsys, "fold", "a", "--out", "x", code=1)
    assert found["outputs"] > 1e-9 and found["out"] is None
    assert not Path("x").exists()


WRONG = [
    (("align", "a", "other"), "a and other have different networks"),
    (("align", "a", "nowhere"), "there is no run folder nowhere"),
    (("fold", "a", "--out", "b"), "b exists and is not an empty folder"),
    (("convert", "a", "--to", "conv", "--node", "dens1", "--out", "x"), "did you mean 'dense1'?"),
    (("convert", "a", "--to", "conv", "--node", "conv1", "--out", "x"), "is no dense layer"),
    (("convert", "a", "--to", "dense", "--node", "dense1", "--out", "x"), "is no convolution"),
]


@pytest.mark.parametrize(("words", "sentence"), WRONG)
def test_wrong_requests_are_one_sentence(
    words: tuple[str, ...], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["inspect", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and sentence in err and err.count("\n") == 1
    assert not Path("x").exists()
