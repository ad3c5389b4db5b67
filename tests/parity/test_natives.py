"""Users' own models on three frameworks: read, ported and run alike."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
import pytest
from natives import SETUPS

from triptych.backends import registry
from triptych.backends.native import Native
from triptych.parity.measures import relative

FRAMEWORKS = tuple(SETUPS)


@functools.cache
def native(name: str) -> Native:
    registry.get(name)
    return registry.build_native(SETUPS[name], f"natives.py:{name}_setup", "float64")


@functools.cache
def start() -> dict[str, np.ndarray]:
    """Params that every framework is given, moved so that no bias and no statistic is trivial."""
    rng = np.random.default_rng(1)
    drawn = native("torch").params()
    return {name: array + rng.uniform(0.01, 0.1, array.shape) for name, array in drawn.items()}


@pytest.fixture(params=FRAMEWORKS)
def own(request: pytest.FixtureRequest) -> Native:
    found = native(request.param)
    found.restart(start())
    return found


def test_nodes_are_named_in_order(own: Native) -> None:
    assert [node.name for node in own.nodes] == [
        "conv1", "batch_norm1", "conv2", "max_pool1", "dropout1", "flatten1", "dense1", "dense2",
    ]  # fmt: skip
    node = {node.name: node for node in own.nodes}
    assert node["conv1"].options["padding"] == ((1, 1), (1, 1))
    assert node["conv2"].options["stride"] == (2, 2)
    assert node["batch_norm1"].options["keep"] == pytest.approx(0.9)
    assert node["max_pool1"].options["stride"] == (1, 1)
    assert node["dropout1"].options["rate"] == 0.25
    assert node["flatten1"].options["order"] == "height, width, channels"
    assert node["batch_norm1"].trainable == ("scale", "offset")
    assert node["conv1"].parameters["kernel"] == (3, 3, 2, 4)
    follows = {name: item.activation for name, item in node.items() if item.activation != "linear"}
    assert follows == {
        "batch_norm1": "leaky_relu slope 0.25", "conv2": "relu", "dense1": "elu alpha 1.0",
        "dense2": "sigmoid",
    }  # fmt: skip


def test_layers_compute_alike(own: Native) -> None:
    torch, images = native("torch"), native("torch").batch["input"]
    torch.restart(start())
    for training in (False, True):
        expected = torch.layer_outputs(images, training)
        found = own.layer_outputs(images, training)
        assert list(found) == list(expected)
        for name in expected:
            assert relative(expected[name], found[name]) <= 1e-12, name
    assert all(np.array_equal(own.params()[name], array) for name, array in start().items())


def test_loss_and_gradients_are_alike_with_dropout(own: Native) -> None:
    torch = native("torch")
    torch.restart(start())
    assert own.loss(own.batch) == pytest.approx(torch.loss(torch.batch), rel=1e-12)
    expected, found = torch.gradients(torch.batch), own.gradients(own.batch)
    largest = max(float(np.abs(g).max()) for g in expected.values())
    for name in torch.trainable:
        assert relative(expected[name], found[name], largest) <= 1e-11, name
    assert all(np.array_equal(own.params()[name], array) for name, array in start().items())


def test_a_played_gradient_is_an_update(own: Native) -> None:
    gradient = own.gradients(own.batch)
    played = own.play([gradient, gradient])
    assert own.updates == 0
    own.update(own.batch)
    after = own.params()
    for name in own.trainable:
        assert relative(after[name], played[0][name]) <= 1e-12
    assert not np.array_equal(played[0]["conv1/kernel"], played[1]["conv1/kernel"])
    assert not np.array_equal(after["batch_norm1/mean"], start()["batch_norm1/mean"])


def test_a_counter_can_begin_late() -> None:
    """Without slots, but with the bias correction of the 101st update, Adam's step is small."""
    torch, jax = native("torch"), native("jax")
    for side in (torch, jax):
        side.restart(start())
    gradient = torch.gradients(torch.batch)
    late, other = (side.play([gradient], first=100)[0] for side in (torch, jax))
    early = torch.play([gradient])[0]
    for name in torch.trainable:
        assert relative(late[name], other[name]) <= 1e-12
    moved = [np.abs(p["dense2/kernel"] - start()["dense2/kernel"]).max() for p in (early, late)]
    first, second = 0.1 / (1 - 0.9**101), 0.001 / (1 - 0.999**101)
    assert moved[1] / moved[0] == pytest.approx(first / second**0.5, rel=1e-3)


def test_it_begins_again_exactly(own: Native) -> None:
    def train() -> dict[str, np.ndarray]:
        own.restart(start())
        for _ in range(3):
            own.update(own.batch)
        assert own.slots().updates == own.updates == 3
        assert list(own.slots().values) == ["first_moment", "second_moment"]
        return own.params()

    first, second = train(), train()
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_parts_answer_alone(own: Native) -> None:
    images = own.batch["input"][:2]
    whole = own.layer_outputs(images)
    for node, inputs in (("conv1", images), ("dense1", whole["flatten1"])):
        assert relative(whole[node], own.layer(node, inputs)) <= 1e-13
    assert relative(whole["flatten1"], own.layer("flatten1", whole["dropout1"])) == 0.0
    values = np.linspace(-3.0, 3.0, 50)
    slanted = np.where(values > 0, values, 0.25 * values)
    assert np.allclose(own.activation("batch_norm1", values), slanted, atol=1e-12)
    assert np.allclose(own.activation("dense2", values), 1 / (1 + np.exp(-values)), atol=1e-12)
    assert own.layer("conv1", np.zeros((1, 5, 7, 2))).shape == (1, 5, 7, 4)
    shift = own.layer("dropout1", np.ones((4, 2, 2, 5)), training=True)
    assert set(np.unique(shift)) == {0.0, 1 / 0.75}


def test_read_names_the_factors(own: Native) -> None:
    found = own.read()
    assert found["conv2.filters"] == 5 and found["dense2.activation"] == "sigmoid"
    assert found["dtype"] == "float32" and found["batch.size"] == 6
    places = {"torch": False, "keras": True, "jax": False}
    assert found["optimizer.epsilon_before_correction"] is places[own.framework]
    assert found["optimizer.rate at update 0"] == 0.01
    assert own.framework == "jax" or found["loss.kind"] == "squared"


def test_a_second_draw_differs_where_it_is_random() -> None:
    drawn = native("torch").redraw()
    assert drawn is not None and set(drawn) == set(start())
    assert native("jax").redraw() is None  # its seed is fixed


def test_torch_extras_take_part() -> None:
    """Clipping, a schedule, frozen layers, and channels first as it comes."""
    import torch
    from torch import nn

    def setup() -> dict[str, Any]:
        model = nn.Sequential(
            nn.Conv2d(1, 3, 3), nn.ReLU(), nn.Flatten(), nn.Linear(3 * 2 * 3, 2), nn.Softmax(-1)
        )
        optimizer = torch.optim.SGD(model[3].parameters(), 1.0)
        return {
            "model": model,
            "optimizer": optimizer,
            "loss": nn.MSELoss(reduction="sum"),
            "batch": (torch.rand(4, 1, 4, 5), torch.rand(4, 2)),
            "scheduler": torch.optim.lr_scheduler.StepLR(optimizer, 2, 0.5),
            "clip": lambda params: nn.utils.clip_grad_value_(params, 0.125),
        }

    found = registry.build_native(setup, "x.py:setup", "float64")
    assert found.batch["input"].shape == (4, 4, 5, 1)
    node = {node.name: node for node in found.nodes}
    assert node["flatten1"].options["order"] == "channels, height, width"
    assert node["dense1"].activation == "softmax" and found.trainable[0] == "dense1/kernel"
    assert node["conv1"].trainable == ()
    ones = {name: np.ones(node["dense1"].parameters[name[7:]]) for name in found.trainable}
    steps = [p["dense1/bias"][0] for p in found.play([ones] * 3)]
    assert np.diff(steps) == pytest.approx([-0.125, -0.0625])
    later = found.play([ones], first=4)[0]["dense1/bias"][0]
    assert later - found.params()["dense1/bias"][0] == pytest.approx(-0.125 / 4)
    assert found.read()["optimizer.rate at update 10"] == pytest.approx(0.5**5)


def test_recurrent_gates_have_names() -> None:
    """An LSTM's arrays cross from PyTorch to Keras and Flax gate by gate."""
    import keras
    import torch
    from torch import nn

    class Last(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(3, 4, batch_first=True), nn.Linear(4, 2)

        def forward(self, x: Any) -> Any:
            return self.head(self.lstm(x)[0][:, -1])

    def left() -> dict[str, Any]:
        model = Last()
        batch = (torch.rand(5, 6, 3), torch.rand(5, 2))
        return {
            "model": model, "optimizer": torch.optim.SGD(model.parameters(), 0.1),
            "loss": nn.MSELoss(), "batch": batch,
        }  # fmt: skip

    def flax_setup() -> dict[str, Any]:
        import optax
        from flax import nnx

        class Flax(nnx.Module):
            def __init__(self, rngs: nnx.Rngs) -> None:
                self.rnn = nnx.RNN(nnx.LSTMCell(3, 4, rngs=rngs))
                self.head = nnx.Linear(4, 2, rngs=rngs)

            def __call__(self, x: Any) -> Any:
                return self.head(self.rnn(x)[:, -1])

        batch = (np.zeros((5, 6, 3), "float32"), np.zeros((5, 2), "float32"))
        return {
            "model": Flax(nnx.Rngs(0)), "optimizer": optax.sgd(0.1),
            "loss": lambda y, t: ((y - t) ** 2).mean(), "batch": batch,
        }  # fmt: skip

    def right() -> dict[str, Any]:
        layers = [keras.layers.Input((6, 3)), keras.layers.LSTM(4), keras.layers.Dense(2)]
        batch = (np.zeros((5, 6, 3), "float32"), np.zeros((5, 2), "float32"))
        return {
            "model": keras.Sequential(layers), "optimizer": keras.optimizers.SGD(0.1),
            "loss": keras.losses.MeanSquaredError(), "batch": batch,
        }  # fmt: skip

    a = registry.build_native(left, "x.py:left", "float64")
    registry.get("keras")
    c = registry.build_native(flax_setup, "x.py:flax", "float64")
    b = registry.build_native(right, "x.py:right", "float64")
    params = a.params()
    assert params["lstm1/kernel_forget"].shape == (3, 4)
    given = {name: params[name] for name in b.params()}
    for name in [name for name in given if name.startswith("lstm1/bias")]:
        # PyTorch's two biases are added up; Keras has one.
        given[name] = given[name] + params[name.replace("/bias", "/recurrent_bias")]
    for side in (b, c):
        side.load_params(given)
        one, other = (own.layer_outputs(a.batch["input"]) for own in (a, side))
        assert relative(one["output"], other["output"]) <= 1e-12
        assert relative(one["lstm1"], other["lstm1"]) <= 1e-12
