"""Real architectures, each from the framework it was written for to another, and back.

All pairs, ONNX, MATLAB and ``keras.applications`` at once take half an hour:
``benchmarks/architectures.py``, with the results in ``docs/results/architectures.json``.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from every import APPLICATIONS, ARCHITECTURES, build

from triptych.backends.carried import Given, Source
from triptych.port import kinds
from triptych.port.carry import carry

WAYS = (
    *(("torch", "keras", name) for name in ("resnet18", "unet")),
    *(("keras", "torch", name) for name in ("lenet", "alexnet", "vgg11", "mobilenet_v2")),
    ("keras", "torch", "lstm_text"),
    ("jax", "torch", "shared_layers"),
    *(("torch", "jax", name) for name in ("gru_text", "mlp_mixer")),
)
"""Every architecture and every framework, on either end."""
RESULTS = Path(__file__).parents[2] / "docs" / "results" / "architectures.json"


def source_of(framework: str, name: str) -> Source:
    model, shape, index = build(framework, name)
    return kinds.porter(framework).read_object(model, Given(shape=shape, index=index))


def prove(source: Source, target: str, out: Path) -> None:
    done = carry(source, target, out, "net")
    assert done.proof.passed, done.proof.reasons
    assert done.proof.forward["float32"] <= 1e-5
    assert done.proof.forward["float64"] <= 1e-12
    assert set(done.proof.gradients) == {"float32", "float64"}


@pytest.mark.parametrize(("framework", "target", "name"), WAYS)
def test_an_architecture_is_carried(framework: str, target: str, name: str, tmp_path: Path) -> None:
    prove(source_of(framework, name), target, tmp_path / "out")


def test_the_proof_of_all_pairs_is_kept() -> None:
    rows = json.loads(RESULTS.read_text())["rows"]
    seen = {(row["source"], row["target"], row["name"]) for row in rows}
    frameworks = ("torch", "jax", "keras")
    for source in frameworks:
        for target in frameworks:
            for name in ARCHITECTURES if source != target else ():
                assert (source, target, name) in seen
    assert {name for source, _, name in seen if source == "keras"} >= set(APPLICATIONS)
    for row in rows:
        assert row["passed"] and row["forward"]["float32"] <= 1e-5, row
