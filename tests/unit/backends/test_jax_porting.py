"""Flax models read, written and read again, against Flax itself and the NumPy oracle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from zoo import jax_zoo

from triptych.backends import registry
from triptych.backends.carried import Given
from triptych.errors import PortError
from triptych.port.proof import Weighted, _without_dropout
from triptych.spec.network import Network

registry.get("jax")
PORTER = registry.porter("jax")
FLOAT32, FLOAT64 = 1e-5, 1e-12


def source_of(name: str) -> Any:
    model, shape, index = jax_zoo.make(name)
    return PORTER.read_object(model, Given(shape=shape, index=index))


def inputs_of(network: Network, count: int = 3) -> np.ndarray:
    stream, layer = np.random.default_rng(0), network.input.layer
    if layer.values == "index":  # type: ignore[attr-defined]
        return stream.integers(0, 50, (count, *layer.shape()))
    return stream.normal(size=(count, *layer.shape()))


def apart(left: np.ndarray, right: np.ndarray) -> float:
    assert left.shape == right.shape
    return float(np.abs(left - right).max() / np.abs(right).max())


@pytest.mark.parametrize("name", jax_zoo.ZOO)
def test_a_model_is_read_as_the_network_that_it_computes(name: str) -> None:
    source = source_of(name)
    trained, x = source.trained, inputs_of(source.trained.network)
    oracle = registry.get("numpy").learner(trained.network, trained.params, dtype="float64")
    expected = oracle.outputs(x)
    assert apart(source.outputs(x, "float32"), expected) <= FLOAT32
    assert apart(source.outputs(x, "float64"), expected) <= FLOAT64
    layers, own = oracle.layer_outputs(x), source.layer_outputs(x, "float64")
    assert own
    assert all(apart(array, layers[node]) <= FLOAT64 for node, array in own.items())
    assert {array.dtype for array in trained.params.values()} == {np.dtype("float32")}
    assert set(trained.places) == set(trained.network.by_name)


@pytest.mark.parametrize("name", ["stacked", "shared_layers", "squeeze_excite"])
def test_gradients_are_those_of_training_without_dropout(name: str) -> None:
    source = source_of(name)
    network, x = _without_dropout(source.trained.network), inputs_of(source.trained.network, 4)
    learner = registry.get("jax").learner(
        network, source.trained.params, objective=Weighted(), dtype="float64"
    )
    shape = (len(x), *network.shapes[network.output.name])
    weights = np.random.default_rng(1).normal(size=shape)
    before = {key: array.copy() for key, array in source.module.arrays.items()}
    own = source.gradients(x, weights, "float64")
    other = learner.gradients({"observation": x, "weights": weights})
    # A scale that the model does not have gets no gradient there.
    missing = {"batch_norm1/scale"} if name == "squeeze_excite" else set()
    assert set(own) == set(other) - missing
    scale = max(np.abs(array).max() for array in own.values())
    assert max(np.abs(own[key] - other[key]).max() for key in own) <= 1e-11 * scale
    assert all(np.array_equal(before[key], source.module.arrays[key]) for key in before)


def test_a_layer_at_several_places_shares_its_arrays() -> None:
    network = source_of("shared_layers").trained.network
    assert [node.shares for node in network.nodes if node.shares] == ["dense2", "dense2"]


# --- what lies between layers ---------------------------------------------------------------------

FORMULAS: dict[str, tuple[Any, list[str]]] = {
    "silu by hand": (lambda x: x / (1 + jnp.exp(-x)), ["silu"]),
    "maximum": (lambda x: jnp.maximum(x, 0), ["relu"]),
    "where": (lambda x: jnp.where(x > 0, x, 0.123456789 * x), ["leaky_relu"]),
    "clip": (lambda x: jnp.clip(x, 0, 6), ["relu6"]),
    "scaled and moved": (lambda x: (x / 255 - 0.5) * 2, ["rescale"]),
    "hard swish": (jax.nn.hard_swish, ["hard_sigmoid", "multiply"]),
    "mish": (jax.nn.mish, ["softplus", "tanh", "multiply"]),
    "difference": (lambda x: nnx.tanh(x) - nnx.sigmoid(x), ["tanh", "sigmoid", "rescale", "add"]),
    "softmax": (jax.nn.softmax, ["softmax"]),
    "log softmax": (lambda x: jax.nn.log_softmax(x * 2), ["rescale", "log_softmax"]),
    "identity": (lambda x: (x * 2) / 2, []),
    "square": (lambda x: x**2, ["multiply"]),
    "jitted": (jax.jit(lambda x: nnx.gelu(x, approximate=False)), ["gelu"]),
    "checkpointed": (jax.checkpoint(lambda x: nnx.selu(x)), ["selu"]),
}


class Between(nnx.Module):
    def __init__(self, function: Any) -> None:
        self.function = function

    def __call__(self, x: Any) -> Any:
        return self.function(x)


@pytest.mark.parametrize("name", FORMULAS)
def test_a_formula_is_named_by_its_values(name: str) -> None:
    function, kinds = FORMULAS[name]
    source = PORTER.read_object(Between(function), Given(shape=(5,)))
    trained, x = source.trained, np.random.default_rng(0).normal(size=(4, 5)) * 4
    assert [node.layer.kind for node in trained.network.nodes[1:]] == kinds
    oracle = registry.get("numpy").learner(trained.network, {}, dtype="float64")
    assert apart(source.outputs(x, "float64"), oracle.outputs(x)) <= FLOAT64


REFUSED: dict[str, tuple[Any, tuple[int, ...], str]] = {
    "product with a constant": (lambda x: x @ np.ones((5, 2)), (5,), "dot_general: has no canonical"),
    "part": (lambda x: x[:, :2], (5,), "slice: takes a part of a value"),
    "sorting": (lambda x: jnp.sort(x), (5,), "sort: has no canonical form"),
    "two outputs": (lambda x: (x, x * 2), (5,), "gives 2 outputs"),
    "batch mixed": (lambda x: x - x.mean(axis=0), (5,), "mixes"),
    "batch flattened": (lambda x: x.reshape(-1), (5,), "mixes the batch with other axes"),
    "constant array": (lambda x: x - jnp.arange(5.0), (5,), "takes a constant array (1, 5)"),
    "no gradient": (lambda x: jax.lax.stop_gradient(x) * x, (5,), "stops the gradient"),
    "reflection": (
        lambda x: jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="reflect"), (6, 6, 2), "",
    ),
    "wrong shape": (nnx.Linear(3, 2, rngs=nnx.Rngs(0)), (5,), "fails on an input of shape (5,)"),
    "group norm": (nnx.GroupNorm(4, 2, rngs=nnx.Rngs(0)), (6, 6, 4), "is a GroupNorm"),
    "circular": (
        nnx.Conv(2, 2, (3, 3), padding="CIRCULAR", rngs=nnx.Rngs(0)), (6, 6, 2), "'circular'",
    ),
    "one axis": (nnx.Conv(2, 2, (3,), rngs=nnx.Rngs(0)), (6, 2), "slides over other than two axes"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_what_has_no_canonical_form_is_named_with_its_place(name: str) -> None:
    function, shape, message = REFUSED[name]
    with pytest.raises(PortError) as error:
        PORTER.read_object(Between(function), Given(shape=shape, where="net.py:make"))
    text = str(error.value)
    assert text.startswith("net.py:make: ")
    assert message in text
    if not isinstance(function, nnx.Module) and name not in ("two outputs", "constant array"):
        assert "test_jax_porting.py:" in text


def test_an_input_of_unknown_shape_is_asked_for() -> None:
    with pytest.raises(PortError, match="--input 32x32x3"):
        PORTER.read_object(Between(nnx.relu), Given())
    with pytest.raises(PortError, match=r"is a list, expected a flax\.nnx\.Module"):
        PORTER.read_object([], Given(shape=(3,)))


def test_a_cast_to_float32_leaves_float32_alone() -> None:
    source = PORTER.read_object(Between(lambda x: x.astype(jnp.float32) / 3), Given(shape=(3,)))
    assert source.dtypes == ("float32",)
    assert "float32" in source.trained.notes[0]


# --- writing ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".safetensors", ".msgpack"])
@pytest.mark.parametrize("name", ["unet", "stacked", "shared_layers"])
def test_what_was_written_is_the_same(name: str, ending: str, tmp_path: Path) -> None:
    source = source_of(name)
    path = tmp_path / f"net{ending}"
    assert PORTER.write(source.trained, path, "my net") == [path, path.with_suffix(".py")]
    written = PORTER.load(source.trained, path, "my net")
    found = written.params()
    assert set(found) == set(source.trained.params)
    assert all(np.array_equal(found[key], a) for key, a in source.trained.params.items())
    x = inputs_of(source.trained.network)
    if ending == ".safetensors":
        assert apart(written.outputs(x, "float64"), source.outputs(x, "float64")) <= FLOAT64


def test_what_was_written_can_do_without_triptych(tmp_path: Path) -> None:
    source = source_of("mobilenet_v2")
    PORTER.write(source.trained, tmp_path / "net.safetensors", "mobile net")
    x = inputs_of(source.trained.network).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    script = (
        "import sys; sys.modules['triptych'] = None\n"
        "import numpy as np, net\n"
        "model = net.load('net.safetensors')\n"
        "model.eval()\n"
        "np.save('y.npy', model(np.load('x.npy')))\n"
    )
    subprocess.run([sys.executable, "-c", script], cwd=tmp_path, check=True, capture_output=True)
    written = PORTER.load(source.trained, tmp_path / "net.safetensors", "mobile net")
    own = written.module.load(str(tmp_path / "net.safetensors"))
    own.eval()
    assert np.array_equal(np.load(tmp_path / "y.npy"), np.asarray(own(x)))
