"""PyTorch's models as sources: read, run, written and loaded again; their optimizers too."""

from __future__ import annotations

import functools
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from triptych.backends import registry
from triptych.backends._torch.porting import PORTER, optimizers
from triptych.backends.carried import Given, Source, Trained
from triptych.backends.protocol import Slots
from triptych.errors import PortError, Unsupported
from triptych.port.proof import Weighted, apart_by_example, inputs_of
from triptych.spec.layers import GRU, LSTM, BatchNorm, Dense
from triptych.spec.notation import parse
from triptych.spec.rules import SGD, Adagrad, Adam, AdamW, Clip, RMSprop, Rule, constant
from triptych.spec.schedules import Exponential
from triptych.testing.cases import NETWORKS
from triptych.testing.recurrent_cases import RECURRENT, STEPS

sys.path.insert(0, str(Path(__file__).parents[2] / "zoo"))
import torch_zoo

CASES = {case.name: case for case in (*NETWORKS, *RECURRENT, *STEPS)}


@functools.cache
def of_zoo(name: str) -> Source:
    _, shape, index = torch_zoo.ZOO[name]
    return PORTER.read_object(torch_zoo.build(name), Given(shape=shape, index=index))


def source_of(model: nn.Module, *shape: int, index: bool = False) -> Source:
    return PORTER.read_object(model, Given(shape=shape, index=index))


# --- reading -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", torch_zoo.ZOO)
def test_the_zoo_is_read_and_computed(name: str) -> None:
    source = of_zoo(name)
    inputs = inputs_of(source.trained.network, seed=3)
    assert source.dtypes == ("float32", "float64")
    for backend, dtype, bar in (("torch", "float32", 1e-5), ("numpy", "float64", 1e-12)):
        learner = registry.get(backend).learner(
            source.trained.network, source.trained.params, dtype=dtype
        )
        typed = inputs if inputs.dtype.kind == "i" else inputs.astype(dtype)
        own = source.outputs(typed, dtype)
        assert apart_by_example(own, learner.outputs(typed)) <= bar
    # One more way round: a layer's output at a time, by the program's own operations.
    found, expected = source.layer_outputs(inputs, "float64"), learner.layer_outputs(inputs)
    assert len(found) >= 4
    assert max(apart_by_example(found[node], expected[node]) for node in found) <= 1e-12


@pytest.mark.parametrize("name", ["resnet18", "unet", "lstm_text", "squeeze", "shared_layers"])
def test_gradients_are_the_models_own(name: str) -> None:
    source = of_zoo(name)
    network = source.trained.network
    inputs = inputs_of(network, seed=3)
    weights = np.random.default_rng(0).normal(size=(8, *network.shapes[network.output.name]))
    own = source.gradients(inputs, weights, "float64")
    off = {n.name: replace(n.layer, rate=0.0) for n in network.nodes if n.layer.kind == "dropout"}
    nodes = tuple(replace(n, layer=off.get(n.name, n.layer)) for n in network.nodes)
    learner = registry.get("torch").learner(
        replace(network, nodes=nodes), source.trained.params, objective=Weighted(), dtype="float64"
    )
    other = learner.gradients({"observation": inputs, "weights": weights})
    assert own is not None
    assert set(own) == set(network.trainable)
    largest = max(np.abs(array).max() for array in own.values())
    for key, array in own.items():
        assert np.abs(array - other[key]).max() <= 1e-12 * largest, key


def test_reading_changes_nothing_in_the_model() -> None:
    model = torch_zoo.build("resnet18").train()
    before = {name: array.clone() for name, array in model.state_dict().items()}
    source = source_of(model, 64, 64, 3)
    source.gradients(np.ones((4, 64, 64, 3)), np.ones((4, 10)), "float64")
    assert model.training
    assert model.fc.weight.dtype == torch.float32
    assert all(torch.equal(before[name], array) for name, array in model.state_dict().items())


def test_a_model_that_names_its_type_runs_in_both() -> None:
    def call(x: Tensor, r: nn.GRU) -> Tensor:
        return r(x.double(), torch.zeros(1, x.size(0), 4, dtype=torch.float64))[0]

    source = source_of(Function(call, r=nn.GRU(3, 4, batch_first=True).double()), 5, 3)
    assert source.trained.params["gru1/kernel_reset"].dtype == np.float64
    x = np.random.default_rng(0).normal(size=(2, 5, 3))
    wide = source.outputs(x, "float64")
    assert wide.dtype == np.float64
    assert 0.0 < np.abs(source.outputs(x.astype("float32"), "float32") - wide).max() < 1e-6


def test_names_places_and_what_is_shared() -> None:
    shared = of_zoo("shared_layers").trained
    assert {node.name: node.shares for node in shared.network.nodes if node.shares} == {
        "batch_norm2": "batch_norm1",
        "dense3": "dense2",
    }
    resnet = of_zoo("resnet18").trained
    assert resnet.places["conv3"] == "layers.0.0.conv2"
    assert resnet.params["dense1/kernel"].shape == (64, 10)
    assert resnet.network.by_name["batch_norm1"].layer == BatchNorm(1e-5, 0.9, unbiased=True)
    text = of_zoo("lstm_text").trained.network
    layers = [node.layer for node in text.nodes_of(LSTM)]
    assert [(layer.sequences, layer.reverse) for layer in layers] == [
        (True, False), (True, True), (False, False), (False, True),
    ]  # fmt: skip
    assert text.by_name["dropout1"].layer.rate == 0.2
    (gru,) = of_zoo("gru_text").trained.network.nodes_of(GRU)
    assert not gru.layer.sequences


class Function(nn.Module):
    """A model whose forward pass is a function, with layers by the names of its arguments."""

    def __init__(self, forward: Callable[..., Any], **layers: Any) -> None:
        super().__init__()
        self.call, self.names = forward, list(layers)
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, x: Tensor) -> Any:
        return self.call(x, *[getattr(self, name) for name in self.names])


def _late_relu(x: Tensor, fc: nn.Linear) -> Tensor:
    y = fc(x)
    view = y.view(y.shape)
    F.relu_(y)
    return view * 2.0


def _odd_pool(x: Tensor) -> Tensor:
    return F.max_pool2d(x, 3, stride=2, ceil_mode=True)


KNOWN: dict[str, tuple[nn.Module, tuple[int, ...]]] = {
    "in place, through another view": (Function(_late_relu, fc=nn.Linear(5, 4)), (5,)),
    "ceil_mode that changes nothing": (Function(_odd_pool), (7, 9, 2)),
    "a centred head": (
        Function(lambda x, a, v: v(x) + ((y := a(x)) - y.mean(-1, keepdim=True)),
                 a=nn.Linear(5, 3), v=nn.Linear(5, 1)), (5,),
    ),
    "a bare product": (Function(lambda x, w: x @ w.t(), w=nn.Parameter(torch.ones(3, 5))), (5,)),
    "numbers around": (Function(lambda x: 1.0 - (x * 3.0 - 0.5) / 2.0 + -x), (6,)),
    "softmax over channels": (Function(lambda x: F.log_softmax(x, dim=1)), (4, 3, 5)),
    "flattened and normalised": (
        Function(lambda x, n, f: f(n(x.flatten(1))), n=nn.BatchNorm1d(24), f=nn.Linear(24, 3)),
        (4, 3, 2),
    ),
    "channels last inside": (
        Function(lambda x, n: n(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), n=nn.LayerNorm(2)),
        (4, 3, 2),
    ),
    "an upside down embedding": (
        Function(lambda x, r: r(x.transpose(0, 1))[1][0].squeeze(0), r=nn.LSTM(3, 4)), (6, 3),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_idioms_are_read(name: str) -> None:
    model, shape = KNOWN[name]
    source = source_of(model, *shape)
    inputs = inputs_of(source.trained.network, seed=1)
    learner = registry.get("numpy").learner(
        source.trained.network, source.trained.params, dtype="float64"
    )
    gap = apart_by_example(source.outputs(inputs, "float64"), learner.outputs(inputs))
    assert gap <= 1e-12


UNKNOWN: dict[str, tuple[nn.Module, tuple[int, ...], str]] = {
    "an operation": (nn.Sequential(nn.Linear(3, 4), nn.Mish()), (3,), r"1 \(aten.mish.default\)"),
    "groups": (nn.GroupNorm(1, 4), (2, 2, 4), "group_norm"),
    "ceil": (Function(_odd_pool), (8, 8, 2), "ceil_mode"),
    "softplus": (nn.Sequential(nn.Linear(3, 3), nn.Softplus()), (3,), r"1 \(softplus\): beta"),
    "over the batch": (Function(lambda x: x.mean(0, keepdim=True) + x), (3,), "batch"),
    "two outputs": (Function(lambda x: (x, x + 1)), (3,), "returns 2 tensors"),
    "tied": (
        Function(lambda x, e, f: F.linear(e(x), e.weight), e=nn.Embedding(9, 4), f=None),
        (5,), "e.weight",
    ),
    "the middle": (Function(lambda x, r: r(x)[0][:, 2], r=nn.GRU(3, 4, batch_first=True)), (5, 3),
                   "entry 2 of 5"),
    "the first": (Function(lambda x, r: r(x)[0][:, 0], r=nn.GRU(3, 4, batch_first=True)), (5, 3),
                  "not the layer's final one"),
    "the wrong end": (
        Function(lambda x, r: r(x)[0][:, -1], r=nn.GRU(3, 4, batch_first=True, bidirectional=True)),
        (5, 3), "one step of a sequence",
    ),
    "all and the last": (
        Function(lambda x, r: (y := r(x)[0]).mean(1) + y[:, -1],
                 r=nn.GRU(3, 4, batch_first=True)), (5, 3), "in another way",
    ),
    "time for the batch": (Function(lambda x, r: r(x)[0], r=nn.GRU(3, 4)), (5, 3), "batch_first"),
    "a start": (
        Function(lambda x, r: r(x, torch.ones(1, x.size(0), 4))[0],
                 r=nn.GRU(3, 4, batch_first=True)), (5, 3), "not zero",
    ),
    "a learnt array": (Function(lambda x, p: x + p, p=nn.Parameter(torch.ones(3))), (3,),
                       "array p"),
    "statistics": (nn.BatchNorm1d(3, track_running_stats=False), (3,), "running statistics"),
    "divisor": (nn.AvgPool2d(2, divisor_override=3), (4, 4, 2), "divisor_override"),
}  # fmt: skip


@pytest.mark.parametrize("name", UNKNOWN)
def test_what_has_no_canonical_form_is_named(name: str) -> None:
    model, shape, message = UNKNOWN[name]
    with pytest.raises(PortError, match=message) as caught:
        source_of(model, *shape, index=name == "tied")
    assert len(str(caught.value).splitlines()) == 1


def test_what_stands_in_and_what_is_left_is_told() -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 1), nn.BatchNorm2d(3, affine=False), nn.Dropout2d(0.5))
    model = Function(lambda x, net, unused: net(x), net=model, unused=nn.Linear(2, 2))
    source = source_of(model, 4, 4, 2)
    assert "net.1 has no weight: ones stand in, which will learn" in source.trained.notes
    assert any("unused.weight, unused.bias" in note for note in source.trained.notes)
    assert any("feature_dropout" in note for note in source.trained.notes)
    gradients = source.gradients(np.ones((2, 4, 4, 2)), np.ones((2, 4, 4, 3)), "float64")
    assert set(gradients or {}) == {"conv1/kernel", "conv1/bias"}


def test_the_input_must_be_told_and_fit() -> None:
    with pytest.raises(PortError, match="--input 32x32x3"):
        PORTER.read_object(nn.Linear(3, 2), Given())
    with pytest.raises(PortError, match="can't be traced"):
        source_of(nn.Linear(3, 2), 4)
    with pytest.raises(PortError, match="NaN or infinity"):
        broken = nn.Linear(3, 2)
        nn.init.constant_(broken.bias, float("nan"))
        source_of(broken, 3)
    with pytest.raises(PortError, match="TorchScript"):
        PORTER.read_object(torch.jit.trace(nn.Linear(3, 2), torch.ones(1, 3)), Given(shape=(3,)))


# --- files ---------------------------------------------------------------------------------------


def equal(left: Trained, right: Trained) -> bool:
    return set(left.params) == set(right.params) and all(
        np.array_equal(left.params[key], right.params[key]) for key in left.params
    )


@pytest.mark.parametrize(
    ("kind", "suffix"),
    [
        ("plain", ".pth"),
        ("plain", ".safetensors"),
        ("checkpoint", ".pt"),
        ("wrapped", ".bin"),
        ("part", ".pt"),
    ],
)
def test_files_of_arrays_go_into_the_users_model(tmp_path: Path, kind: str, suffix: str) -> None:
    arrays: Any = dict(torch_zoo.build("shared_layers").state_dict())
    path = tmp_path / f"net{suffix}"
    if kind == "wrapped":
        arrays = {f"module.{name}": array for name, array in arrays.items()}
    if kind == "part":
        arrays = {f"net.{name}": array for name, array in arrays.items()}
    if suffix == ".safetensors":
        from safetensors.torch import save_file

        save_file(arrays, path)
    else:
        torch.save({"state_dict": arrays, "epoch": 3} if kind == "checkpoint" else arrays, path)
    make = functools.partial(torch_zoo.build, "shared_layers", 5)
    given = Given(shape=(6,), make=make, where="f.py:m")
    assert equal(PORTER.read(path, given).trained, of_zoo("shared_layers").trained)


@pytest.mark.parametrize(
    ("name", "dynamic"), [("lenet", False), ("resnet18", True), ("gru_text", False)]
)
def test_exported_programs_are_read_and_run(tmp_path: Path, name: str, dynamic: bool) -> None:
    _, shape, index = torch_zoo.ZOO[name]
    native = shape if len(shape) < 3 else (shape[2], shape[0], shape[1])
    example = torch.zeros(3, *native, dtype=torch.int64 if index else torch.float32)
    shapes = ({0: torch.export.Dim("batch")},) if dynamic else None
    model = torch_zoo.build(name)
    program = torch.export.export(model, (example,), strict=False, dynamic_shapes=shapes)
    torch.export.save(program, tmp_path / "net.pt2")
    source = PORTER.read(tmp_path / "net.pt2", Given())
    own = of_zoo(name)
    assert equal(source.trained, own.trained)
    assert source.trained.network == own.trained.network
    inputs = inputs_of(own.trained.network, seed=2)
    last = own.trained.network.output.name
    expected = own.outputs(inputs, "float64")
    assert apart_by_example(expected, source.outputs(inputs, "float64")) <= 1e-14
    assert apart_by_example(expected, source.layer_outputs(inputs, "float64")[last]) <= 1e-14
    gradients = source.gradients(inputs, np.ones_like(expected), "float64")
    assert (gradients is None) == (name == "resnet18")  # an exported normalisation does not train


NET = parse("8x8x2 -> conv 3 3x3 -> batch_norm -> relu -> flatten -> dense 4 -> relu -> dense 2")


def test_arrays_alone_are_matched_by_name_or_order(tmp_path: Path) -> None:
    flat = parse("6 -> dense 5 -> tanh -> dense 5 -> dense 2")
    model = nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 5), nn.Linear(5, 2))
    torch.save(model.state_dict(), tmp_path / "net.pt")
    source = PORTER.read(tmp_path / "net.pt", Given(network=flat))
    x = np.random.default_rng(0).normal(size=(3, 6)).astype("float32")
    with torch.no_grad():
        assert np.allclose(source.outputs(x, "float32"), model(torch.from_numpy(x)), atol=1e-6)
    assert source.trained.places["dense2"] == "2"
    other = parse("6 -> dense 5 -> tanh -> dense 4 -> dense 2")
    with pytest.raises(PortError, match=r"2 has weight \(5, 5\).*dense2, takes weight \(4, 5\)"):
        PORTER.read(tmp_path / "net.pt", Given(network=other))
    with pytest.raises(PortError, match="--network"):
        PORTER.read(tmp_path / "net.pt", Given())


def test_a_flattened_images_order_is_asked_for(tmp_path: Path) -> None:
    model = nn.Sequential(nn.Conv2d(2, 3, 3), nn.BatchNorm2d(3), nn.Linear(108, 4), nn.Linear(4, 2))
    torch.save(model.state_dict(), tmp_path / "net.pt")
    with pytest.raises(PortError, match="flattened image"):
        PORTER.read(tmp_path / "net.pt", Given(network=NET))


def test_the_first_array_that_does_not_fit_is_named(tmp_path: Path) -> None:
    good = torch_zoo.build("lenet").state_dict()
    wrong = {
        "lacks fc1.bias": {k: v for k, v in good.items() if k != "fc1.bias"},
        r"fc1.bias is \(7,\)": good | {"fc1.bias": torch.ones(7)},
        "holds fc9.bias": good | {"fc9.bias": torch.ones(7)},
        "fc1.bias holds NaN": good | {"fc1.bias": good["fc1.bias"] * float("nan")},
    }
    given = Given(shape=(32, 32, 1), make=lambda: torch_zoo.build("lenet"), where="f.py:m")
    for message, arrays in wrong.items():
        torch.save(arrays, tmp_path / "net.pt")
        with pytest.raises(PortError, match=message):
            PORTER.read(tmp_path / "net.pt", given)


# --- writing -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", CASES)
def test_every_layer_is_written_and_read(name: str, tmp_path: Path) -> None:
    case = CASES[name]
    for dtype, suffix in (("float32", ".safetensors"), ("float64", ".pt")):
        params = {key: array.astype(dtype) for key, array in case.params().items()}
        own, path = Trained(case.network, params), tmp_path / f"net{suffix}"
        try:
            files = PORTER.write(own, path, name)
        except Unsupported:
            assert name in ("never",), name
            continue
        assert files == [path, tmp_path / "net.py"]
        written = PORTER.load(own, path, name)
        assert equal(own, replace(own, params=written.params()))
        again = PORTER.read(path, Given())  # the file says which network it is
        assert again.trained.network == case.network
        assert equal(own, again.trained)
        inputs = inputs_of(case.network, seed=1)
        typed = inputs if inputs.dtype.kind == "i" else inputs.astype(dtype)
        learner = registry.get("torch").learner(case.network, params, dtype=dtype)
        for outputs in (written.outputs, again.outputs):
            gap = apart_by_example(learner.outputs(typed), outputs(typed, dtype))
            assert gap <= (1e-5 if dtype == "float32" else 1e-12)


ALONE = """
import sys
sys.modules["triptych"] = None
import numpy as np, torch
sys.path.insert(0, sys.argv[1])
import net
model = net.load()
x = torch.from_numpy(np.load(sys.argv[1] + "/x.npy"))
with torch.no_grad():
    np.save(sys.argv[1] + "/y.npy", model(x).numpy())
optimizer = net.load_optimizer(model.train())
model(x).sum().backward()
optimizer.step()
np.save(sys.argv[1] + "/step.npy", next(iter(model.parameters())).detach().numpy())
"""


def test_what_is_written_stands_alone(tmp_path: Path) -> None:
    own = with_slots(of_zoo("unet").trained, Adam(constant(0.01), epsilon_before_correction=True))
    PORTER.write(own, tmp_path / "net.safetensors", "unet")
    x = np.random.default_rng(0).normal(size=(2, 32, 32, 2)).astype("float32")
    np.save(tmp_path / "x.npy", x)
    subprocess.run([sys.executable, "-c", ALONE, str(tmp_path)], check=True, timeout=60)
    here = PORTER.load(own, tmp_path / "net.safetensors", "unet").outputs(x, "float32")
    assert np.array_equal(np.load(tmp_path / "y.npy"), here)
    first = next(iter(own.params))
    stepped = np.load(tmp_path / "step.npy").transpose(2, 3, 1, 0)
    assert np.abs(stepped - own.params[first]).max() > 1e-4


# --- optimizers ----------------------------------------------------------------------------------


NATIVE: dict[str, Callable[[Any], torch.optim.Optimizer]] = {
    "sgd": lambda p: torch.optim.SGD(p, 0.05, momentum=0.9, weight_decay=1e-3, nesterov=True),
    "plain": lambda p: torch.optim.SGD(p, 0.05),
    "adam": lambda p: torch.optim.Adam(p, 3e-3, betas=(0.8, 0.99), eps=1e-6, weight_decay=1e-3),
    "adamw": lambda p: torch.optim.AdamW(p, 3e-3, weight_decay=0.1),
    "rmsprop": lambda p: torch.optim.RMSprop(p, 1e-3, momentum=0.5, centered=True),
    "rms": lambda p: torch.optim.RMSprop(p, 1e-3, alpha=0.9, weight_decay=1e-3),
    "adagrad": lambda p: torch.optim.Adagrad(p, 0.02, initial_accumulator_value=0.1),
}


def sequence_model() -> nn.Module:
    """Gates, a normalisation, and one layer at two places; no array whose gradient is rounding."""
    torch.manual_seed(0)
    layers = {"r": nn.GRU(4, 5, batch_first=True), "n": nn.LayerNorm(5), "f": nn.Linear(5, 5)}
    return Function(lambda x, r, n, f: f(torch.tanh(f(n(r(x)[0][:, -1])))), **layers).double()


def updated(model: nn.Module, optimizer: Any, batches: list[tuple[np.ndarray, np.ndarray]]) -> None:
    for x, weights in batches:
        optimizer.zero_grad()
        (model(torch.from_numpy(x)) * torch.from_numpy(weights)).sum().backward()
        optimizer.step()


@pytest.mark.parametrize("name", NATIVE)
@pytest.mark.parametrize("way", ["live", "checkpoint"])
def test_fifty_more_updates_are_those_at_home(name: str, way: str, tmp_path: Path) -> None:
    model = sequence_model()
    optimizer = NATIVE[name](model.parameters())
    stream = np.random.default_rng(0)
    batches = [(stream.normal(size=(7, 3, 4)), stream.normal(size=(7, 5)) / 7) for _ in range(60)]
    updated(model, optimizer, batches[:10])
    if way == "live":
        source = PORTER.read_object(model, Given(shape=(3, 4)), optimizer)
    else:
        path = tmp_path / "c.pt"
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, path)
        source = PORTER.read(path, Given(shape=(3, 4), make=sequence_model, where="f.py:m"))
    trained = source.trained
    assert trained.rule is not None
    assert trained.slots is not None
    learner = registry.get("torch").learner(
        trained.network, trained.params, objective=Weighted(), rule=trained.rule, dtype="float64"
    )
    learner.load_slots(trained.slots)
    for x, weights in batches[10:]:
        learner.update({"observation": x, "weights": weights})
    updated(model, optimizer, batches[10:])
    home, found = PORTER.read_object(model, Given(shape=(3, 4))).trained.params, learner.params()
    for key, array in home.items():
        assert np.abs(array - trained.params[key]).max() > 1e-4, key
        assert np.abs(array - found[key]).max() <= 1e-11, key


def with_slots(trained: Trained, rule: Rule, updates: int = 7) -> Trained:
    stream = np.random.default_rng(0)
    values = {
        slot: {key: stream.random(trained.params[key].shape).astype("float32")
               for key in trained.network.trainable}
        for slot in rule.slots
    }  # fmt: skip
    return replace(trained, rule=rule, slots=Slots(updates, values))


RULES: list[Rule] = [
    SGD(constant(0.1), momentum=0.9),
    SGD(constant(0.1)),
    Adam(constant(1e-3), clip=Clip(norm=1.0)),
    Adam(Exponential(1e-3, 0.5, 10), epsilon_before_correction=True),
    Adam(constant(1e-3), epsilon_inside_root=True, l2=0.1),
    AdamW(constant(1e-3), l2=0.1),
    RMSprop(constant(1e-3), momentum=0.5, centered=True),
    RMSprop(constant(1e-3), momentum=0.5, centered=True, epsilon_inside_root=True),
    Adagrad(constant(0.1), initial=0.1),
    Adagrad(constant(0.1), epsilon_inside_root=True),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: f"{rule.name}-{RULES.index(rule)}")
def test_every_rule_is_written_and_read(rule: Rule, tmp_path: Path) -> None:
    suffix = ".pt" if RULES.index(rule) % 2 else ".safetensors"
    for updates in (7, 0):
        own = with_slots(of_zoo("gru_text").trained, rule, updates)
        PORTER.write(own, tmp_path / f"net{suffix}", "adam")
        for given in (Given(), Given(network=own.network, rule=rule)):
            found = PORTER.read(tmp_path / f"net{suffix}", given).trained
            assert (found.rule, found.notes) == (rule, ())
            assert own.slots is not None
            assert found.slots is not None
            assert found.slots.updates == updates
            for slot, arrays in own.slots.values.items() if updates else ():
                for key, array in arrays.items():
                    assert np.array_equal(found.slots.values[slot][key], array)


LEFT: dict[str, tuple[Callable[[Any], torch.optim.Optimizer], str]] = {
    "amsgrad": (lambda p: torch.optim.Adam(p, amsgrad=True), "amsgrad"),
    "nadam": (lambda p: torch.optim.NAdam(p), "NAdam"),
    "dampening": (lambda p: torch.optim.SGD(p, 0.1, momentum=0.9, dampening=0.5), "dampening"),
    "lr_decay": (lambda p: torch.optim.Adagrad(p, lr_decay=0.5), "lr_decay"),
    "groups": (
        lambda p: torch.optim.SGD([{"params": [next(p)]}, {"params": [*p], "lr": 1.0}], 0.1),
        "group 2 has lr 1.0",
    ),
    "some": (lambda p: torch.optim.SGD(list(p)[:1], 0.1), "does not train"),
    "own": (lambda p: type("Mine", (torch.optim.SGD,), {})(p, 0.1), "not one of torch.optim's"),
}  # fmt: skip


@pytest.mark.parametrize("name", LEFT)
def test_other_optimizers_are_left_behind_by_name(name: str) -> None:
    make, message = LEFT[name]
    model = nn.Sequential(nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2))
    trained = PORTER.read_object(model, Given(shape=(4,)), make(model.parameters())).trained
    assert trained.rule is None
    assert trained.slots is None
    assert any("left behind" in note and message in note for note in trained.notes)


def test_a_rule_given_adds_what_the_optimizer_does_not_know() -> None:
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), 0.1)
    rule = SGD(Exponential(0.1, 0.5, 10), clip=Clip(global_norm=1.0))
    given = Given(shape=(4,), rule=rule)
    assert PORTER.read_object(model, given, optimizer).trained.rule == rule
    other = Given(shape=(4,), rule=SGD(constant(0.1), momentum=0.5))
    assert PORTER.read_object(model, other, optimizer).trained.rule == SGD(constant(0.1))


def test_rules_as_text_come_back() -> None:
    for rule in RULES:
        assert optimizers.from_text(optimizers.to_text(rule)) == rule
    assert optimizers.from_text({"name": "sgd", "rate": 0.1, "code": 1}) is None


def test_a_layer_without_params_is_a_source_too(tmp_path: Path) -> None:
    source = source_of(nn.Sequential(nn.ReLU(), nn.Flatten()), 3, 2, 1)
    assert source.trained.params == {}
    PORTER.write(source.trained, tmp_path / "net.pt", "x")
    assert not source.trained.network.nodes_of(Dense)
