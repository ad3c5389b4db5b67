"""Flax models read, written and read again, against Flax itself and the NumPy oracle."""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import msgpack
import numpy as np
import orbax.checkpoint as ocp
import pytest
from flax import linen, nnx, serialization
from safetensors.numpy import save_file
from zoo import jax_zoo

from triptych.backends import registry
from triptych.backends.carried import Given
from triptych.errors import PortError
from triptych.port.proof import Weighted, _without_dropout
from triptych.spec import layers as spec
from triptych.spec.network import Network

registry.get("jax")
PORTER = registry.porter("jax")
FLOAT32, FLOAT64 = 1e-5, 1e-12


@pytest.fixture(autouse=True, scope="module")
def quick_compiler() -> Iterator[None]:
    """Compile in two thirds of the time; the programs are run once or twice."""
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


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


@pytest.mark.parametrize("name", ["shared_layers", "squeeze_excite"])
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
    "product with a constant": (lambda x: x @ np.ones((5, 2)), (5,), "dot_general: has no"),
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
    with pytest.raises(PortError, match="of Linen, arrays alone are read"):
        PORTER.read_object(linen.Dense(2), Given(shape=(3,)))


def test_a_cast_to_float32_leaves_float32_alone() -> None:
    source = PORTER.read_object(Between(lambda x: x.astype(jnp.float32) / 3), Given(shape=(3,)))
    assert source.dtypes == ("float32",)
    assert "float32" in source.trained.notes[0]


# --- writing --------------------------------------------------------------------------------------


@pytest.mark.parametrize("ending", [".safetensors", ".msgpack"])
@pytest.mark.parametrize("name", ["squeeze_excite", "stacked", "shared_layers"])
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
    source = source_of("lenet")
    PORTER.write(source.trained, tmp_path / "net.safetensors", "my net")
    x = inputs_of(source.trained.network).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    script = (
        "import sys; sys.modules['triptych'] = None\n"
        "import numpy as np, net\n"
        "model = net.load('net.safetensors')\n"
        "from flax import nnx\n"
        "np.save('y.npy', nnx.jit(lambda model, x: model(x))(model, np.load('x.npy')))\n"
    )
    command = [sys.executable, "-c", script]
    same = os.environ | {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1"}
    subprocess.run(command, cwd=tmp_path, env=same, check=True, capture_output=True)
    written = PORTER.load(source.trained, tmp_path / "net.safetensors", "my net")
    assert np.array_equal(np.load(tmp_path / "y.npy"), written.outputs(x, "float32"))


# --- files of arrays ------------------------------------------------------------------------------


class Small(nnx.Module):
    """Two convolutions, a batch norm, two dense layers."""

    def __init__(self, rngs: nnx.Rngs) -> None:
        self.conv_a = nnx.Conv(2, 4, (3, 3), rngs=rngs)
        self.norm = nnx.BatchNorm(4, momentum=0.9, rngs=rngs)
        self.conv_b = nnx.Conv(4, 3, (3, 3), strides=2, rngs=rngs)
        self.dense = nnx.List([nnx.Linear(12, 5, rngs=rngs), nnx.Linear(5, 2, rngs=rngs)])

    def __call__(self, x: Any) -> Any:
        x = nnx.relu(self.conv_b(nnx.relu(self.norm(self.conv_a(x)))))
        return self.dense[1](nnx.tanh(self.dense[0](x.reshape(x.shape[0], -1))))


SHAPE = (4, 4, 2)
MAKE = Given(make=lambda: nnx.eval_shape(lambda: Small(nnx.Rngs(0))), shape=SHAPE)


def small() -> Any:
    return PORTER.read_object(jax_zoo.filled(lambda: Small(nnx.Rngs(0))), Given(shape=SHAPE))


def tree_of(arrays: dict[str, np.ndarray]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, array in arrays.items():
        *outer, last = name.split(".")
        inner = tree
        for word in outer:
            inner = inner.setdefault(word, {})
        inner[last] = array
    return tree


LINEN = {
    "params.Conv_0.kernel": "conv_a.kernel", "params.Conv_0.bias": "conv_a.bias",
    "params.BatchNorm_0.scale": "norm.scale", "params.BatchNorm_0.bias": "norm.bias",
    "batch_stats.BatchNorm_0.mean": "norm.mean", "batch_stats.BatchNorm_0.var": "norm.var",
    "params.Conv_1.kernel": "conv_b.kernel", "params.Conv_1.bias": "conv_b.bias",
    "params.Dense_0.kernel": "dense.0.kernel", "params.Dense_0.bias": "dense.0.bias",
    "params.Dense_1.kernel": "dense.1.kernel", "params.Dense_1.bias": "dense.1.bias",
}  # fmt: skip


def saved(arrays: dict[str, np.ndarray], path: Path) -> Path:
    """Save arrays as people do: by a library of the format's own."""
    if path.suffix == ".safetensors":
        save_file({name.replace(".", "/"): array for name, array in arrays.items()}, path)
    elif path.suffix == ".msgpack":
        path.write_bytes(serialization.msgpack_serialize(tree_of(arrays)))
    else:
        with ocp.StandardCheckpointer() as checkpointer:
            checkpointer.save(path, tree_of(arrays))
    return path


@pytest.mark.parametrize("ending", [".safetensors", ".msgpack", ""])
def test_arrays_alone_belong_to_the_users_module(ending: str, tmp_path: Path) -> None:
    source = small()
    path = saved(source.module.arrays, tmp_path / f"net{ending}")
    found = PORTER.read(path, MAKE)
    same = source.trained.params
    assert all(np.array_equal(found.trained.params[key], array) for key, array in same.items())
    assert found.trained.network == source.trained.network
    with pytest.raises(PortError, match="holds arrays alone; say whose they are"):
        PORTER.read(path, Given())


@pytest.mark.parametrize("ending", [".safetensors", ".msgpack", ""])
def test_linens_names_are_matched_by_order(ending: str, tmp_path: Path) -> None:
    source = small()
    arrays = {linen: source.module.arrays[own] for linen, own in LINEN.items()}
    found = PORTER.read(saved(arrays, tmp_path / f"net{ending}"), Given(network=network_of(source)))
    assert all(np.array_equal(found.trained.params[k], a) for k, a in source.trained.params.items())
    x = inputs_of(source.trained.network)
    assert apart(found.outputs(x, "float64"), source.outputs(x, "float64")) <= FLOAT64
    assert found.trained.places["dense2"].startswith("Dense_1.")


def network_of(source: Any) -> Network:
    network: Network = source.trained.network
    return network


@pytest.mark.parametrize("cell", ["OptimizedLSTMCell", "LSTMCell", "GRUCell", "SimpleCell"])
def test_linens_cells_are_matched_gate_by_gate(cell: str, tmp_path: Path) -> None:
    model = linen.RNN(getattr(linen, cell)(4, param_dtype=jnp.float64))
    x = np.random.default_rng(0).normal(size=(3, 6, 5))
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)["params"]
    stream = np.random.default_rng(1)
    params = jax.tree.map(lambda leaf: stream.normal(size=leaf.shape) * 0.4, shapes)
    path = tmp_path / "net.msgpack"
    path.write_bytes(serialization.msgpack_serialize(params))
    layer = {
        "GRUCell": spec.GRU(4, biases=1, candidate_bias=True, sequences=True),
        "SimpleCell": spec.Elman(4, sequences=True),
    }.get(cell, spec.LSTM(4, sequences=True))
    network = Network.sequential(spec.Input((6, 5)), layer)
    found = PORTER.read(path, Given(network=network))
    expected = np.asarray(jax.jit(lambda p, x: model.apply({"params": p}, x))(params, x))
    assert apart(found.outputs(x, "float64"), expected) <= FLOAT64


@pytest.mark.parametrize("transposed", [False, True])
def test_a_transposed_convolution_of_linens_stands_upside_down(
    transposed: bool, tmp_path: Path
) -> None:
    model = linen.ConvTranspose(
        4, (3, 2), strides=(2, 1), padding="VALID", transpose_kernel=transposed,
        param_dtype=jnp.float64,
    )  # fmt: skip
    x, stream = np.random.default_rng(0).normal(size=(2, 5, 4, 3)), np.random.default_rng(1)
    shapes = jax.eval_shape(model.init, jax.random.key(0), x)["params"]
    params = jax.tree.map(lambda leaf: stream.normal(size=leaf.shape), shapes)
    path = tmp_path / "net.msgpack"
    path.write_bytes(serialization.msgpack_serialize({"ConvTranspose_0": params}))
    layer = spec.ConvTranspose(4, (3, 2), (2, 1))
    found = PORTER.read(path, Given(network=Network.sequential(spec.Input((5, 4, 3)), layer)))
    expected = np.asarray(model.apply({"params": params}, x))
    assert apart(found.outputs(x, "float64"), expected) <= FLOAT64


def test_names_of_nodes_come_first(tmp_path: Path) -> None:
    source = small()
    path = tmp_path / "net.safetensors"
    PORTER.write(source.trained, path, "net")
    found = PORTER.read(path, Given(network=source.trained.network))
    assert all(np.array_equal(found.trained.params[k], a) for k, a in source.trained.params.items())


def broken(change: Any) -> dict[str, np.ndarray]:
    arrays = {linen: small().module.arrays[own] for linen, own in LINEN.items()}
    change(arrays)
    return arrays


def _wider(arrays: Any) -> None:
    arrays["params.Conv_1.kernel"] = np.zeros((3, 3, 4, 7), np.float32)


def _lacking(arrays: Any) -> None:
    del arrays["params.Dense_1.kernel"], arrays["params.Dense_1.bias"]


def _diverged(arrays: Any) -> None:
    arrays["params.Conv_0.bias"] = np.array([1, np.nan, 0, 0], np.float32)


def _whole(arrays: Any) -> None:
    arrays["params.Dense_0.bias"] = np.zeros(5, np.int32)


def _strange(arrays: Any) -> None:
    arrays["params.Attention_0.query"] = np.zeros((2, 2), np.float32)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_wider, r"Conv_1\.kernel is \(3, 3, 4, 7\), expected \(3, 3, 4, 3\) for conv2/kernel"),
        (_lacking, r"holds 1 layers of the kind dense \(Dense_0\), but the network has 2"),
        (_diverged, r"params/Conv_0/bias holds NaN or infinity"),
        (_strange, r"Attention_0 holds query, which is no known layer's"),
    ],
)
def test_what_does_not_match_is_said_exactly(change: Any, message: str, tmp_path: Path) -> None:
    path = saved(broken(change), tmp_path / "net.safetensors")
    with pytest.raises(PortError, match=message):
        PORTER.read(path, Given(network=small().trained.network))


def test_a_module_takes_all_and_nothing_else(tmp_path: Path) -> None:
    arrays = small().module.arrays
    less = {key: array for key, array in arrays.items() if key != "norm.var"}
    with pytest.raises(PortError, match=r"norm\.var \(4,\) is not in it"):
        PORTER.read(saved(less, tmp_path / "less.safetensors"), MAKE)
    more = arrays | {"head.kernel": np.zeros((2, 2), np.float32)}
    with pytest.raises(PortError, match=r"holds head\.kernel \(2, 2\), which the model does not"):
        PORTER.read(saved(more, tmp_path / "more.safetensors"), MAKE)


# --- hostile and broken files ---------------------------------------------------------------------


def _ext(shape: Any, dtype: str, raw: bytes, kind: int = 1) -> bytes:
    inner = msgpack.packb((shape, dtype, raw), use_bin_type=True)
    return bytes(msgpack.packb({"w": msgpack.ExtType(kind, inner)}))


class _Bomb:
    def __reduce__(self) -> Any:
        return (Path("exploded").touch, ())


HOSTILE: dict[str, tuple[str, bytes, str]] = {
    "header of 10 GB": (
        "a.safetensors", struct.pack("<Q", 10**10) + b"{}", "no whole safetensors file",
    ),
    "array beyond the end": (
        "a.safetensors",
        struct.pack("<Q", 56) + b'{"w":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}  ',
        "no whole safetensors file",
    ),
    "shape of a terabyte": (
        "a.safetensors",
        struct.pack("<Q", 64)
        + b'{"w":{"dtype":"F32","shape":[274877906944],"data_offsets":[0,4]}}'[:64].ljust(64)
        + b"\0\0\0\0",
        "no whole safetensors file",
    ),
    "empty": ("a.safetensors", b"", "no whole safetensors file"),
    "nothing in it": ("a.msgpack", msgpack.packb({}), "holds no arrays"),
    "msgpack of a terabyte": ("a.msgpack", _ext((2**38,), "float32", b"1234"), "in 4 bytes"),
    "negative shape": ("a.msgpack", _ext((-1, -1), "float32", b"1234"), "array of shape (-1, -1)"),
    "objects": ("a.msgpack", _ext((1,), "object", b"12345678"), "type 'object'"),
    "another type": ("a.msgpack", _ext((1,), "float32", b"1234", kind=42), "object of type 42"),
    "array of 4 GB, cut": ("a.msgpack", b"\xc9\xff\xff\xff\xff\x01", "no whole msgpack file"),
    "cut": ("a.msgpack", _ext((4,), "float32", b"1" * 16)[:-5], "no whole msgpack file"),
    "deep": ("a.msgpack", b"\x81\xa1a" * 50_000 + b"\x01", "msgpack"),
    "text": ("a.msgpack", msgpack.packb({"w": [1, 2]}), "w is a list, expected an array"),
    "pickle": ("a.msgpack", pickle.dumps(_Bomb()), "a.msgpack: "),
    "pickle by name": ("a.pkl", pickle.dumps(_Bomb()), "no file of Flax'"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_one_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, data, message = HOSTILE[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / file).write_bytes(data)
    with pytest.raises(PortError) as error:
        PORTER.read(tmp_path / file, MAKE)
    assert message in str(error.value)
    assert "\n" not in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == [file]


def test_a_broken_orbax_folder_is_refused(tmp_path: Path) -> None:
    path = saved({"dense.kernel": np.ones((3, 2), np.float32)}, tmp_path / "net")
    (path / "inside").symlink_to("/etc")
    with pytest.raises(PortError, match="inside is a link to another place"):
        PORTER.read(path, MAKE)
    (path / "inside").unlink()
    data = next(file for file in (path / "ocdbt.process_0").rglob("*") if file.is_file())
    data.write_bytes(data.read_bytes()[:10])
    (path / "manifest.ocdbt").write_bytes(b"nothing")
    with pytest.raises(PortError, match="no whole Orbax checkpoint"):
        PORTER.read(path, MAKE)
    (path / "_METADATA").unlink()
    with pytest.raises(PortError, match="without the _METADATA"):
        PORTER.read(path, MAKE)


def test_small_floats_are_widened(tmp_path: Path) -> None:
    arrays = {key: array.astype(np.float16) for key, array in small().module.arrays.items()}
    found = PORTER.read(saved(arrays, tmp_path / "net.safetensors"), MAKE)
    assert "widened" in found.trained.notes[0]
    assert {array.dtype for array in found.trained.params.values()} == {np.dtype("float32")}
