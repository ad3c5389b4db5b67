"""The written definitions, executed by themselves, against the learners they describe."""

from __future__ import annotations

import functools
import shutil
import subprocess
import sys
from importlib import import_module
from operator import attrgetter
from pathlib import Path

import numpy as np
import pytest
from source_cases import ACTIVATIONS, NETWORKS

from triptych.backends import registry
from triptych.backends._numpy import model as oracle
from triptych.backends.protocol import Evaluation
from triptych.errors import Unsupported
from triptych.spec.initial import Initial
from triptych.spec.notation import parse

BACKENDS = ("torch", "jax", "keras", "numpy")
TRAINABLE = ("torch", "jax", "keras")
INITIAL = Initial(
    bias={"normal": 0.1},
    scale={"normal": 1.0},
    offset={"normal": 0.1},
    mean={"normal": 0.1},
    variance={"uniform": 0.0},
)


@functools.cache
def network_of(name):
    return parse(NETWORKS[name])


def params_of(network):
    params = INITIAL.draw(network, 0)
    for name in params:
        if name.endswith("/variance"):
            params[name] = np.random.default_rng(1).uniform(0.5, 2.0, params[name].shape)
    return params


def inputs_of(network, batch=3):
    rng, layer = np.random.default_rng(2), network.input.layer
    if layer.values == "index":
        return rng.integers(0, 11, (batch, *layer.size))
    if network.nodes[1].layer.kind == "rescale" and len(layer.size) == 3:
        return rng.integers(0, 256, (batch, *layer.size)).astype(np.uint8)
    x = rng.normal(size=(batch, *layer.size))
    if len(layer.size) == 2:
        x[0, 1] = 0.3  # a masked step
    return x


def write(backend, name):
    return registry.get(backend).source(network_of(name), name)


def execute(text):
    """Run a text and return what it defines last."""
    before = {"__name__": "written"}
    names = dict(before)
    exec(compile(text, "<written>", "exec"), names)
    return list(names.values())[-1]


def homes_of(backend):
    return import_module(f"triptych.backends._{backend}.layouts").HOMES


def load(backend, model, network, params):
    """Put params into a native model by the backend's layouts, whatever the model is."""
    homes = homes_of(backend)
    for name, value in params.items():
        node, local = name.split("/")
        home = homes[network.by_name[node].layer.kind][local]
        value = np.ascontiguousarray(home.to_native(value))
        if backend == "torch":
            import torch

            array = getattr(model.get_submodule(node), home.attribute)
            home.piece(array.data).copy_(torch.tensor(value))
        elif backend == "jax":
            variable = getattr(getattr(model, node), home.attribute)
            assert variable.shape == value.shape
            assert variable.dtype == value.dtype
            variable.set_value(jax_array(value))
        else:
            variable = attrgetter(home.attribute)(model.get_layer(node))
            whole = np.array(variable)
            home.piece(whole)[...] = value
            variable.assign(whole)
    return model


def jax_array(value):
    import jax.numpy as jnp

    return jnp.asarray(value)


def build(backend, text, network, params):
    """The executed definition, in float64, with the params in it."""
    registry.get(backend)
    made = execute(text)
    if backend == "numpy":
        return lambda x: made(x, params)
    if backend == "torch":
        import torch

        model = made().double() if params else made(dtype=torch.float64)
        return load(backend, model.eval(), network, params)
    if backend == "jax":
        import jax.numpy as jnp
        from flax import nnx

        # Only shapes are asked for: drawing and compiling initial values would take seconds.
        model = nnx.eval_shape(lambda: made(nnx.Rngs(0), dtype=jnp.float64))
        return load(backend, model, network, params)
    return load(backend, made(dtype="float64"), network, params)


def run(backend, model, x, **options):
    if backend == "numpy":
        return model(x)
    if backend == "torch":
        import torch

        with torch.no_grad():
            return model(torch.from_numpy(x)).numpy()
    if backend == "jax":
        import jax

        if options:
            return np.asarray(model(jax_array(x), **options))
        return np.asarray(jax.jit(lambda value: model(value))(x))
    return np.asarray(model(x, **options))


def difference(backend, text, name):
    network = network_of(name)
    params, x = params_of(network), inputs_of(network)
    expected = registry.get(backend).learner(network, params, dtype="float64").outputs(x)
    got = run(backend, build(backend, text, network, params), x)
    assert got.shape == expected.shape and got.dtype == expected.dtype == np.float64
    return np.abs(got - expected).max() / max(1.0, np.abs(expected).max())


def agrees(backend, text, name):
    """Whether a text gives the right outputs; one that does not run does not agree."""
    try:
        return difference(backend, text, name) <= 1e-12
    except (AssertionError, ValueError, TypeError, RuntimeError):
        return False


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("name", NETWORKS)
def test_the_text_computes_what_the_learner_computes(backend, name):
    assert difference(backend, write(backend, name), name) <= 1e-12


MUTATIONS = [
    ("torch", "fruit", ".permute(0, 2, 3, 1).flatten(1)", ".flatten(1)"),
    ("torch", "same, uneven", "F.pad(x, (0, 1, 1, 1))", "F.pad(x, (1, 0, 1, 1))"),
    ("torch", "transposed", "[:, :, :-1, :]", "[:, :, 1:, :]"),
    ("torch", "dueling", "eps=1e-05", "eps=0.001"),
    ("jax", "explicit padding", "padding=((2, 0), (1, 3))", "padding=((0, 2), (1, 3))"),
    ("jax", "dilation", "kernel_dilation=(2, 3)", "kernel_dilation=(2, 2)"),
    ("jax", "every activation", "approximate=True", "approximate=False"),
    ("jax", "same, uneven", "count_include_pad=True", "count_include_pad=False"),
    ("keras", "same, uneven", "(3, 2), strides=(2, 2)", "(3, 2), strides=(2, 1)"),
    ("keras", "dilation", "::2, ::3", "1::2, ::3"),
    ("keras", "every activation", "gelu(a)", "keras.activations.gelu(a)"),
    ("keras", "every activation", "leaky_relu(a, slope=0.3)", "keras.ops.leaky_relu(a, 0.3)"),
    ("numpy", "transposed", "crop=((0, 1), (1, 1))", "crop=((1, 0), (1, 1))"),
    ("numpy", "space-invaders", "1 / 255", "1 / 256"),
    ("torch", "loops", "mask=0.3", "mask=None"),
    ("torch", "over time", ".flip(1)", ""),
    ("jax", "loops", "reset_after=False", "reset_after=True"),
    ("keras", "loops", "mask=seen(x, 0.3)", "mask=None"),
    ("numpy", "over time", ", reverse=True", ""),
    ("torch", "moved", "relu1.permute(0, 2, 3, 1)", "relu1.permute(0, 3, 2, 1)"),
    ("torch", "moved, no windows", "(0, 0, 2, 0, 0, 1)", "(0, 0, 0, 2, 0, 1)"),
    ("torch", "shared", "self.h(i)", "self.h(h)"),
    ("jax", "moved", "(0, 4, 1, 3, 2)", "(0, 3, 1, 4, 2)"),
    ("jax", "shared", "self.i(k)", "self.i(j)"),
    ("keras", "moved", "((1, 0), (0, 2))", "((0, 1), (0, 2))"),
    ("keras", "shared", "i_layer(k)", "i_layer(j)"),
    ("numpy", "moved", "(0, 4, 1, 3, 2)", "(0, 4, 3, 1, 2)"),
]


@pytest.mark.parametrize(("backend", "name", "old", "new"), MUTATIONS)
def test_a_wrong_text_is_found(backend, name, old, new):
    text = write(backend, name)
    assert old in text
    assert not agrees(backend, text.replace(old, new), name)


@pytest.mark.parametrize("backend", TRAINABLE)
@pytest.mark.parametrize("norm", ["batch_norm keep 0.9", "batch_norm keep 0.8 unbiased"])
@pytest.mark.parametrize("start", ["5x4x3 -> conv 3 2x2", "3 -> dense 3", "5x3 -> dense 3"])
def test_batch_norm_trains_as_the_spec_says(backend, norm, start):
    network = parse(f"{start} -> {norm} -> relu")
    params, x = params_of(network), inputs_of(network, batch=6)
    layers = registry.get(backend).learner(network, params, dtype="float64").layer_outputs(x, True)
    model = build(backend, registry.get(backend).source(network, "norm"), network, params)
    if backend == "torch":
        model.train()
    got = run(backend, model, x, **({} if backend == "torch" else {"training": True}))
    np.testing.assert_allclose(got, layers["relu1"], atol=1e-12, rtol=0)

    layer, before = network.by_name["batch_norm1"].layer, layers[network.nodes[1].name]
    flat = before.reshape(-1, before.shape[-1])
    batch = {"mean": flat.mean(0), "variance": flat.var(0, ddof=int(layer.unbiased))}
    node = model.get_layer("batch_norm1") if backend == "keras" else model.batch_norm1
    for local, value in batch.items():
        home = homes_of(backend)["batch_norm"][local]
        expected = layer.keep * params[f"batch_norm1/{local}"] + (1 - layer.keep) * value
        kept = np.asarray(getattr(node, home.attribute))
        np.testing.assert_allclose(kept, expected, atol=1e-12, rtol=0)


@pytest.mark.parametrize("backend", TRAINABLE)
def test_a_shared_batch_norm_moves_its_statistics_at_every_place(backend):
    graph = {"input": "3", "a": "dense 3", "n": "batch_norm keep 0.8", "b": "shares a"}
    network = parse(graph | {"m": "shares n"})
    params, x = params_of(network), inputs_of(network, batch=6)
    values, moved = oracle.run(network, params, x, training=True)
    model = build(backend, registry.get(backend).source(network, "norm"), network, params)
    if backend == "torch":
        model.train()
    got = run(backend, model, x, **({} if backend == "torch" else {"training": True}))
    np.testing.assert_allclose(got, values["m"], atol=1e-12, rtol=0)
    node = model.get_layer("n") if backend == "keras" else model.n
    for local in ("mean", "variance"):
        kept = np.asarray(getattr(node, homes_of(backend)["batch_norm"][local].attribute))
        np.testing.assert_allclose(kept, moved[f"n/{local}"], atol=1e-12, rtol=0)


class Total:
    """The sum of all outputs, whose gradient is that of every layer added up."""

    evaluations = (Evaluation("y"),)

    def loss(self, xp, outputs, batch):
        return xp.sum(outputs["y"])


def bias_gradients(backend, model, names, x):
    if backend == "torch":
        import torch

        model(torch.from_numpy(x)).sum().backward()
        return [getattr(model, name).bias.grad.numpy() for name in names]
    if backend == "jax":
        from flax import nnx

        grads = nnx.jit(nnx.grad(lambda m: m(jax_array(x)).sum()))(model)
        return [np.asarray(grads[name]["bias"][...]) for name in names]
    import tensorflow as tf

    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(model(x))
    return tape.gradient(loss, [model.get_layer(name).bias.value for name in names])


@pytest.mark.parametrize("backend", TRAINABLE)
def test_gradients_at_the_corners_are_the_learners(backend):
    layers = {kind: kind for kind in ACTIVATIONS}
    layers["hard_sigmoid"] = "hard_sigmoid slope 0.25"  # so that the corners are exact
    graph = {"input": "5"} | {f"d_{kind}": "dense 5 <- input" for kind in layers}
    graph |= {f"n_{kind}": f"{text} <- d_{kind}" for kind, text in layers.items()}
    graph["all"] = f"concatenate <- {', '.join(f'n_{kind}' for kind in layers)}"
    network = parse(graph)
    params = {
        name: np.eye(*item.shape) if len(item.shape) == 2 else np.zeros(item.shape)
        for name, item in network.parameters.items()
    }
    x = np.array([[0.0, 6.0, 2.0, -2.0, -0.5]])
    learner = registry.get(backend).learner(network, params, objective=Total(), dtype="float64")
    expected = learner.gradients({"observation": x})
    model = build(backend, registry.get(backend).source(network, "corner"), network, params)
    names = [f"d_{kind}" for kind in layers]
    for name, got in zip(names, bias_gradients(backend, model, names, x), strict=True):
        np.testing.assert_allclose(got, expected[f"{name}/bias"], atol=1e-12, err_msg=name)


@pytest.mark.parametrize("backend", TRAINABLE)
def test_float32_is_the_default(backend):
    network = network_of("fruit")
    params = {name: value.astype(np.float32) for name, value in params_of(network).items()}
    x = inputs_of(network)
    made = execute(write(backend, "fruit"))
    if backend == "jax":
        from flax import nnx

        model = nnx.eval_shape(lambda: made(nnx.Rngs(0)))
    else:
        model = made()
    got = run(backend, load(backend, model, network, params), x)
    expected = registry.get(backend).learner(network, params).outputs(x)
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=1e-5, rtol=0)


def ruff(*arguments):
    beside = Path(sys.executable).with_name("ruff")
    command = str(beside) if beside.exists() else shutil.which("ruff")
    if command is None:
        pytest.skip("ruff is not installed")
    command_line = [command, *arguments, "--isolated", "--line-length", "100"]
    return subprocess.run(command_line, text=True, capture_output=True)


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_texts_are_formatted_as_ruff_formats(backend, tmp_path):
    for place, name in enumerate(NETWORKS):
        (tmp_path / f"text_{place}.py").write_text(write(backend, name), encoding="utf-8")
    form = ruff("format", "--diff", str(tmp_path))
    assert form.returncode == 0, form.stdout
    lint = ruff("check", "--select", "E,F,I,W,UP", str(tmp_path))
    assert lint.returncode == 0, lint.stdout


@pytest.mark.parametrize("name", ["fruit", "space-invaders"])
def test_the_three_texts_line_up(name):
    texts = [write(backend, name).splitlines() for backend in TRAINABLE]
    assert len({len(lines) for lines in texts}) == 1
    for node in network_of(name).nodes_of(*{type(n.layer) for n in network_of(name).nodes}):
        if any(key.startswith(f"{node.name}/") for key in network_of(name).parameters):
            places = [[i for i, line in enumerate(t) if f"{node.name}" in line] for t in texts]
            made, used = zip(*((p[0], p[-1]) for p in places), strict=True)
            assert len(set(made)) == 1, node.name
            assert len(set(used)) == 1, node.name


@pytest.mark.parametrize("backend", BACKENDS)
def test_the_text_stands_alone_under_its_own_name(backend):
    text = write(backend, "space-invaders")
    wanted = "class SpaceInvaders(" if backend in ("torch", "jax") else "def space_invaders("
    assert wanted in text and "triptych" not in text


@pytest.mark.parametrize("title", ["2048", "conv", "x", "!", "class", "a b-c.d", "Étoile"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_any_title_gives_a_text_that_runs(backend, title):
    network = parse("6x5x1 -> conv 2 2x2 leaky_relu -> flatten -> dense 2")
    text = registry.get(backend).source(network, title)
    if backend == "jax":
        assert execute(text).__name__ in text
        return
    assert run(backend, build(backend, text, network, params_of(network)), inputs_of(network)).size


@pytest.mark.parametrize(("backend", "taken"), [("torch", "half"), ("jax", "perturb")])
def test_a_name_that_the_module_uses_is_refused_in_a_sentence(backend, taken):
    network = parse({"input": "3", taken: "dense 2"})
    with pytest.raises(Unsupported, match=f"node called '{taken}'.*rename the node"):
        registry.get(backend).source(network, "bad")
