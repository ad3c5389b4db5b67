"""``export_network.m`` under Octave, on stand-ins with the fields of MATLAB's objects.

There is no MATLAB here. The stand-ins have the properties that MathWorks documents, and
``*_by_hand.m`` computes what MathWorks documents of them, one number at a time and with none of our
code.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from triptych.backends import registry
from triptych.backends.carried import Given, Source
from triptych.errors import PortError
from triptych.port.matlab import PORTER, files, octave
from triptych.port.matlab.reading import RUNNER
from triptych.spec.layers import GRU, LSTM, AveragePool, BatchNorm, Conv

HERE = Path(__file__).parent / "stand_ins"
_MODES = ("after-multiplication", "before-multiplication", "recurrent-bias-after-multiplication")
_SHALLOW = {
    "feedforward": "net = shallow_net('tansig', 'purelin', false);",
    "pattern": "net = shallow_net('logsig', 'softmax', false);",
    "cascade": "net = shallow_net('satlin', 'satlins', true);",
}
_DEEP = {
    "features": "[net, x, y] = feature_net();",
    "pooled": "[net, x, y] = pooled_net();",
    "image": "net = image_net(); x = randn(7, 6, 3, 4); y = image_by_hand(net, x);",
    **{
        f"gru{k}": f"net = sequence_net('{mode}', false); x = randn(5, 3, 4); "
        "y = sequence_by_hand(net, x);"
        for k, mode in enumerate(_MODES)
    },
    "words": "net = sequence_net('after-multiplication', true); x = floor(9 * rand(5, 4)); "
    "v = reshape(net.Layers{2}.Weights(:, x(:) + 1), 3, 5, 4); "
    "y = sequence_by_hand(net, permute(v, [2 1 3]));",
}


def script(*lines: str) -> str:
    paths = "".join(f"addpath({octave.quoted(path)});\n" for path in (RUNNER.parent, HERE))
    return f"{paths}randn('seed', 3); rand('seed', 3);\n" + "\n".join(lines)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every stand-in exported, its inputs, and its outputs by hand."""
    place = tmp_path_factory.mktemp("exported")
    lines = [f"cd({octave.quoted(place)});"]
    for name, text in (_SHALLOW | _DEEP).items():
        by_hand = "x = randn(5, 6); y = shallow_by_hand(net, x);" if name in _SHALLOW else ""
        lines += [
            f"{text} {by_hand} export_network(net, '{name}.mat');",
            f"save('{name}_io.mat', 'x', 'y', '-v6');",
        ]
    lines.append(
        "net = Autoencoder(shallow_net('logsig', 'satlin', false)); x = randn(5, 6); "
        "y = predict(net, x); export_network(net, 'autoencoder.mat', x); "
        "save('autoencoder_io.mat', 'x', 'y', '-v6');"
    )
    octave.run(script(*lines), place)
    return place


def source(folder: Path, name: str) -> Source:
    shapes = {"words": (5,), **dict.fromkeys((f"gru{k}" for k in range(3)), (5, 3))}
    return PORTER.read(folder / f"{name}.mat", Given(shape=shapes.get(name)))


@pytest.mark.parametrize("name", [*_SHALLOW, *_DEEP, "autoencoder"])
def test_exported_networks_are_what_matlab_documents(name: str, folder: Path) -> None:
    own = source(folder, name)
    held = files.read(folder / f"{name}_io.mat")
    x, expected = (np.moveaxis(held[key], -1, 0) for key in ("x", "y"))
    assert np.ptp(expected) > 0.01
    network, params = own.trained.network, own.trained.params
    ours = registry.get("numpy").learner(network, params, dtype="float64").outputs(x)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(own.outputs(x, "float64"), expected, rtol=0, atol=1e-13)
    np.testing.assert_allclose(own.outputs(x, "float32"), expected, rtol=0, atol=1e-5)


def test_layers_keep_their_options(folder: Path) -> None:
    trained = source(folder, "image").trained
    layers = {name: node.layer for name, node in trained.network.by_name.items()}
    assert layers["conv_1"] == Conv(4, (3, 2), (2, 1), ((1, 0), (2, 1)), (1, 2))
    assert layers["grouped"] == Conv(4, (3, 3), padding="same", groups=2)
    assert layers["bn"] == BatchNorm(1e-5, 0.9)
    assert layers["mean"] == AveragePool((2, 2), (1, 2), ((0, 1), (0, 0)))
    assert trained.network.by_name["add"].inputs == ("bn", "relu")
    assert trained.network.by_name["cat"].inputs == ("clipped", "leaky")
    # A name that is no word is kept as the place.
    assert trained.places["max_pool1"] == "pool/1"
    assert trained.params["conv_1/kernel"].dtype == np.float32


def test_recurrent_options(folder: Path) -> None:
    found = [source(folder, f"gru{k}").trained.network.by_name["gru"].layer for k in range(3)]
    assert found == [GRU(2, biases=1), GRU(2, biases=1, reset_after=False), GRU(2, biases=2)]
    assert source(folder, "words").trained.network.by_name["lstm"].layer == LSTM(4, sequences=True)


def test_raw_weights_stay_recoverable(folder: Path) -> None:
    """The scaling is in layers of its own, so that dense layers hold MATLAB's own weights."""
    trained = source(folder, "autoencoder").trained
    layers = {layer["name"]: layer for layer in files.read(folder / "autoencoder.mat")["layers"]}
    for name in ("layer1", "layer2"):
        np.testing.assert_array_equal(
            trained.params[f"{name}/kernel"], layers[name]["arrays"]["weights"].T
        )
    assert any("input_mapminmax is a convolution here" in note for note in trained.notes)


def test_one_scale_for_all_features_is_a_rescale(folder: Path, tmp_path: Path) -> None:
    data = files.read(folder / "feedforward.mat")
    for layer in data["layers"]:
        if layer["kind"] == "map":
            names = ("from", "gain", "to")
            layer["arrays"] = {n: layer["arrays"][n].reshape(-1, 1)[:1] for n in names}
    files.write(tmp_path / "net.mat", data)
    own = PORTER.read(tmp_path / "net.mat", Given())
    kinds = [node.layer.kind for node in own.trained.network.nodes]
    assert kinds.count("rescale") == 2 and "conv" not in kinds
    x = np.linspace(-1.0, 1.0, 10).reshape(2, 5)
    learner = registry.get("numpy").learner(own.trained.network, own.trained.params)
    np.testing.assert_allclose(learner.outputs(x), own.outputs(x, "float64"), atol=1e-13)


def test_a_flatten_by_columns_reorders_rows(folder: Path, tmp_path: Path) -> None:
    """Were the flattening read as row by row, the same weights would give other outputs."""
    data = files.read(folder / "image.mat")
    (flat,) = (layer for layer in data["layers"] if layer["kind"] == "flatten")
    assert flat["options"]["order"] == "column-major"
    flat["options"]["order"] = "row-major"
    files.write(tmp_path / "net.mat", data)
    other = PORTER.read(tmp_path / "net.mat", Given()).trained
    right = source(folder, "image").trained
    assert not np.array_equal(other.params["fc/kernel"], right.params["fc/kernel"])
    assert np.array_equal(
        np.sort(other.params["fc/kernel"], 0), np.sort(right.params["fc/kernel"], 0)
    )


_REFUSED = {
    "net = shallow_net('tansig', 'radbas', false);": "the transfer function radbas",
    "net = shallow_net('tansig', 'purelin', false); net.inputWeights{1}.delays = [1 2];": "delays",
    "net = shallow_net('tansig', 'purelin', false); net.layers{1}.netInputFcn = 'netprod';": (
        "net input function netprod"
    ),
    "net = shallow_net('tansig', 'purelin', false); net.numInputs = 2;": "2 inputs",
    "net = shallow_net('tansig', 'purelin', false); net.layerConnect(1, 2) = 1;": "leads back",
    "net = shallow_net('tansig', 'purelin', false); net.inputs{1}.processFcns{2} = 'processpca';": (
        "processing function processpca"
    ),
    "net = image_net(); net.Layers{3}.class_name = 'my.OwnLayer';": (
        "relu: a layer of class OwnLayer has no plain form"
    ),
    "net = image_net(); net.Layers{2}.PaddingValue = 'replicate';": "pads with something else",
    "net = image_net(); net.Layers{5}.TrainedMean = [];": "bn: has no trained mean yet",
    "net = image_net(); net.Connections.Source{2} = 'pool/1/indices';": "takes what is no layer",
    "net = image_net(); net.Connections.Source(15) = []; net.Connections.Destination(15) = [];": (
        "takes what|with 2 outputs"
    ),
    "net = sequence_net('after-multiplication', false); "
    "net.Layers{2}.GateActivationFunction = 'hard-sigmoid';": "bends its gates by hard-sigmoid",
    "net = sequence_net('after-multiplication', false); net.Layers{2}.HiddenState(2) = 1;": (
        "begins with a state that is not zero"
    ),
    "net = struct('a', 1);": "does not know networks of class struct",
}


@pytest.fixture(scope="module")
def refusals(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What the exporter says of each, all in one start; no file may be there."""
    place = tmp_path_factory.mktemp("refused")
    lines = ["said = {};"]
    for k, text in enumerate(_REFUSED):
        call = f"{text} export_network(net, 'net{k}.mat'); said{{end+1}} = 'nothing';"
        lines.append(f"try, {call} catch e, said{{end+1}} = e.message; end")
    lines.append("save('said.mat', 'said', '-v6');")
    octave.run(script(f"cd({octave.quoted(place)});", *lines), place)
    assert not list(place.glob("net*.mat"))
    said: list[str] = files.read(place / "said.mat")["said"]
    return said


@pytest.mark.parametrize("k", range(len(_REFUSED)))
def test_what_has_no_plain_form_is_named(k: int, refusals: list[str]) -> None:
    assert re.search(list(_REFUSED.values())[k], refusals[k])


def test_open_lengths_need_a_shape(folder: Path) -> None:
    with pytest.raises(PortError, match=r"leaves its size 0x3 open; say it with --input"):
        PORTER.read(folder / "gru0.mat", Given())
