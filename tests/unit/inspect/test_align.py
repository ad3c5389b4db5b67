"""Units found again after they changed places and sizes, and what cannot be aligned."""

from __future__ import annotations

import numpy as np
import pytest
from looking import check_close, network_of, outputs

from triptych.backends.protocol import Params
from triptych.errors import NetworkError
from triptych.inspect.align import Alignment, align
from triptych.spec.initial import Initial
from triptych.spec.layers import Dense, ReLU
from triptych.spec.network import Network, Node
from triptych.spec.randomness import generator

Orders = dict[str, np.ndarray]
Factors = dict[str, np.ndarray]


def drawn(counts: dict[str, int], seed: int = 0) -> tuple[Orders, Factors]:
    """An order of units and positive factors over four powers of ten, by layer."""
    draw = generator(seed, "symmetries")
    orders = {name: draw.permutation(count) for name, count in counts.items()}
    factors = {name: 10.0 ** draw.uniform(-2.0, 2.0, count) for name, count in counts.items()}
    return orders, factors


def hidden_convs(p: Params, orders: Orders, factors: Factors) -> Params:
    """conv1 -> pool -> conv2 -> flatten of 2x1 pixels -> dense1 -> dense2, written out."""
    a, b, c = (orders[name] for name in ("conv1", "conv2", "dense1"))
    x, y, z = (factors[name] for name in ("conv1", "conv2", "dense1"))
    rows = np.concatenate([pixel * len(b) + b for pixel in range(2)])
    return {
        "conv1/kernel": p["conv1/kernel"][:, :, :, a] * x,
        "conv1/bias": p["conv1/bias"][a] * x,
        "conv2/kernel": p["conv2/kernel"][:, :, a][..., b] / x[:, None] * y,
        "dense1/kernel": p["dense1/kernel"][rows][:, c] / np.tile(y, 2)[:, None] * z,
        "dense1/bias": p["dense1/bias"][c] * z,
        "dense2/kernel": p["dense2/kernel"][c] / z[:, None],
        "dense2/bias": p["dense2/bias"],
    }


CONVS = (
    "7x4x2 -> rescale 1/3 offset 0.2 -> conv 6 2x2 -> leaky_relu slope 0.1 -> max_pool 2x2/2 "
    "-> conv 5 2x1 no bias relu -> flatten -> dropout 0.2 -> dense 8 relu -> dense 3"
)


def test_every_order_and_factor_of_a_chain_is_found() -> None:
    network, left = network_of(CONVS)
    orders, factors = drawn({"conv1": 6, "conv2": 5, "dense1": 8})
    right = hidden_convs(left, orders, factors)
    check_close(outputs(network, right), outputs(network, left))
    found = align(network, left, right)
    check_found(found, left, right, orders, factors)
    assert list(found.similarity) == ["conv1", "conv2", "dense1", "dense2"]
    for backend in ("numpy", "torch"):
        if backend == "torch":
            pytest.importorskip("torch")
        check_close(outputs(network, found.params, backend), outputs(network, right))


def check_found(
    found: Alignment, left: Params, right: Params, orders: Orders, factors: Factors
) -> None:
    """The way back is the inverse of the way there, and all numbers are left's."""
    assert list(found.params) == list(right)
    for name, array in left.items():
        check_close(found.params[name], array)
    for name, order in orders.items():
        assert np.array_equal(found.permutations[name], np.argsort(order)), name
        np.testing.assert_allclose(found.scales[name] * factors[name][np.argsort(order)], 1.0)
    for name, cosines in found.similarity.items():
        np.testing.assert_allclose(cosines, 1.0, err_msg=name)
    assert min(float(cosines.min()) for cosines in found.before.values()) < 0.9


def test_factors_of_normalised_units_are_in_scale_and_offset() -> None:
    network, left = network_of(
        "6 -> dense 5 -> batch_norm relu -> dense 7 -> layer_norm -> dense 2"
    )
    orders, factors = drawn({"dense1": 5, "dense2": 7})
    a, b = orders["dense1"], orders["dense2"]
    x, y = factors["dense1"], factors["dense2"]
    right = dict(left)
    for name in ("dense1/kernel", "dense1/bias", "batch_norm1/mean", "batch_norm1/variance"):
        right[name] = left[name][..., a]
    right |= {name: left[name][a] * x for name in ("batch_norm1/scale", "batch_norm1/offset")}
    right["dense2/kernel"] = left["dense2/kernel"][a][:, b] / x[:, None]
    right["dense2/bias"] = left["dense2/bias"][b]
    right |= {name: left[name][b] * y for name in ("layer_norm1/scale", "layer_norm1/offset")}
    right["dense3/kernel"] = left["dense3/kernel"][b] / y[:, None]
    check_close(outputs(network, right), outputs(network, left))
    check_found(align(network, left, right), left, right, orders, factors)


@pytest.mark.parametrize("function", ["tanh", "relu6", "sigmoid", "rescale 2 offset 1"])
def test_where_no_factor_can_move_units_change_places_alone(function: str) -> None:
    network, left = network_of(f"4 -> dense 6 -> {function} -> dense 2")
    orders, _ = drawn({"dense1": 6})
    a = orders["dense1"]
    right = {
        "dense1/kernel": left["dense1/kernel"][:, a],
        "dense1/bias": left["dense1/bias"][a],
        "dense2/kernel": left["dense2/kernel"][a],
        "dense2/bias": left["dense2/bias"],
    }
    found = align(network, left, right)
    check_found(found, left, right, orders, {"dense1": np.ones(6)})
    assert np.array_equal(found.scales["dense1"], np.ones(6))


def test_rows_of_an_embedding_are_units_too() -> None:
    network, left = network_of("3 index -> embedding 7 5 -> flatten -> dense 2")
    orders, factors = drawn({"embedding1": 5})
    a, x = orders["embedding1"], factors["embedding1"]
    rows = np.concatenate([step * 5 + a for step in range(3)])
    right = {
        "embedding1/kernel": left["embedding1/kernel"][:, a] * x,
        "dense1/kernel": left["dense1/kernel"][rows] / np.tile(x, 3)[:, None],
        "dense1/bias": left["dense1/bias"],
    }
    check_found(align(network, left, right), left, right, orders, factors)


@pytest.mark.parametrize("seed", range(5))
def test_noise_does_not_hide_the_units(seed: int) -> None:
    network, left = network_of(CONVS)
    orders, factors = drawn({"conv1": 6, "conv2": 5, "dense1": 8}, seed)
    draw = generator(seed, "noise")
    near = {name: a + 0.05 * np.std(a) * draw.normal(size=a.shape) for name, a in left.items()}
    found = align(network, left, hidden_convs(near, orders, factors))
    for name, order in orders.items():
        assert np.array_equal(found.permutations[name], np.argsort(order))
        assert 0.98 < found.similarity[name].mean() < 1.0
        assert found.similarity[name].mean() > found.before[name].mean()


def test_unrelated_networks_come_closer_and_stay_what_they_are() -> None:
    network, _ = network_of("8 -> dense 30 relu -> dense 30 relu -> dense 3")
    left, right = (Initial(bias=("normal", 0.1)).draw(network, seed) for seed in (1, 2))
    found = align(network, left, right)
    check_close(outputs(network, found.params), outputs(network, right))
    for name in ("dense1", "dense2"):
        assert abs(found.before[name].mean()) < 0.2
        assert found.similarity[name].mean() > found.before[name].mean() + 0.2
        assert sorted(found.permutations[name]) == list(range(30))


def test_what_goes_out_of_the_units_counts_too() -> None:
    """Two units take the same; only their outputs tell which is which."""
    network, left = network_of("3 -> dense 4 relu -> dense 3")
    left["dense1/kernel"][:] = left["dense1/kernel"][:, :1]
    left["dense1/bias"][:] = left["dense1/bias"][0]
    orders, factors = drawn({"dense1": 4})
    a, x = orders["dense1"], factors["dense1"]
    right = {
        "dense1/kernel": left["dense1/kernel"][:, a] * x,
        "dense1/bias": left["dense1/bias"][a] * x,
        "dense2/kernel": left["dense2/kernel"][a] / x[:, None],
        "dense2/bias": left["dense2/bias"],
    }
    found = align(network, left, right)
    assert np.array_equal(found.permutations["dense1"], np.argsort(a))


def test_dead_units_do_no_harm_and_types_are_kept() -> None:
    network, left = network_of("4 -> dense 5 relu -> dense 2")
    left["dense1/kernel"][:, 2] = 0.0
    left["dense1/bias"][2] = 0.0
    right = {name: array.astype(np.float32) for name, array in left.items()}
    found = align(network, left, right)
    assert {array.dtype for array in found.params.values()} == {np.dtype("float32")}
    assert found.scales["dense1"][2] == 1.0 and found.similarity["dense1"][2] == 1.0
    check_close(found.params["dense2/kernel"], left["dense2/kernel"], 1e-6)


WRONG = {
    "branch": (
        {"input": "4", "a": "dense 4", "b": "dense 4 <- a", "sum": "add <- a, b"},
        "node 'a' is where the network branches or joins",
    ),
    "groups": ("4x4x4 -> conv 4 2x2 groups 2 -> flatten -> dense 2", "node 'conv1' .* in groups"),
    "recurrent behind": ("4x3 -> dense 5 -> lstm 4 -> dense 2", r"node 'lstm1' \(lstm\) does not"),
    "recurrent": ("4x3 -> gru 4 -> dense 2", r"node 'gru1' \(gru\) does not keep its units apart"),
    "none": ("4 -> relu", "no layer of the network has a kernel"),
}


@pytest.mark.parametrize(("notation", "sentence"), WRONG.values(), ids=list(WRONG))
def test_what_cannot_be_aligned_is_named(notation: str | dict[str, str], sentence: str) -> None:
    network, params = network_of(notation)
    with pytest.raises(NetworkError, match=sentence):
        align(network, params, params)


def test_shared_params_cannot_be_aligned() -> None:
    nodes = network_of("4 -> dense 4 -> relu")[0].nodes
    again = Node("again", Dense(4), ("relu1",), shares="dense1")
    network = Network((*nodes, again, Node("end", ReLU(), ("again",))))
    with pytest.raises(NetworkError, match="'dense1' shares its params with another"):
        align(network, {}, {})


def test_params_of_another_network_are_refused() -> None:
    network, left = network_of("4 -> dense 4 relu -> dense 2")
    _, right = network_of("4 -> dense 5 relu -> dense 2")
    sentence = r"dense1/kernel has shape \(4, 5\), but \(4, 4\) was expected"
    with pytest.raises(NetworkError, match=sentence):
        align(network, left, right)
    with pytest.raises(NetworkError, match="dense1/kernel has shape None"):
        align(network, {}, right)
