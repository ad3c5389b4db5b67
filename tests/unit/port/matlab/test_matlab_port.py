"""Networks as ``.mat`` and ``.m``: every layer in Octave against the oracle, and files that are no
network."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from triptych.backends import registry
from triptych.backends.carried import Given, Trained
from triptych.backends.protocol import Params, Slots
from triptych.engines.setup import load_recipe
from triptych.errors import PortError
from triptych.port.matlab import PORTER, calls, files, writing
from triptych.port.matlab.reading import RUNNER
from triptych.port.proof import prove
from triptych.spec.initial import Initial
from triptych.spec.layers import LAYERS
from triptych.spec.network import Network
from triptych.spec.notation import parse
from triptych.spec.randomness import generator
from triptych.spec.rules import SCG, Adam, Clip, constant
from triptych.testing.cases import NETWORKS, RULES, NetworkCase, RuleCase
from triptych.testing.recurrent_cases import GATED, RECURRENT, STEPS

CASES = {case.name: case for case in (*NETWORKS, *RECURRENT, *STEPS)}


def oracle(network: Network, params: Params, inputs: np.ndarray) -> np.ndarray:
    return registry.get("numpy").learner(network, params, dtype="float64").outputs(inputs)


def apart(found: np.ndarray, expected: np.ndarray) -> float:
    return float(np.abs(found.reshape(expected.shape) - expected).max() / np.abs(expected).max())


def of_case(case: NetworkCase) -> Trained:
    return Trained(case.network, case.params())


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with every case's network, written."""
    folder = tmp_path_factory.mktemp("cases")
    for name, case in CASES.items():
        PORTER.write(of_case(case), folder / f"{name}.mat", name)
    return folder


@pytest.fixture(scope="module")
def answers(written: Path) -> dict[str, np.ndarray]:
    """What Octave makes of every case's function, in double and in single, in one start."""
    items = []
    for name, case in CASES.items():
        function = writing.function_name(Path(f"{name}.mat"))
        x = case.observations("now")
        items += [(written / f"{function}.m", x.astype(kind)) for kind in ("float64", "float32")]
    found = calls(items)
    return dict(zip(CASES, found[::2], strict=True)) | {
        f"{name} single": y for name, y in zip(CASES, found[1::2], strict=True)
    }


@pytest.mark.parametrize("name", CASES)
def test_every_layer_in_octave_is_the_oracles(name: str, answers: dict[str, np.ndarray]) -> None:
    case = CASES[name]
    expected = oracle(case.network, case.params(), case.observations("now"))
    assert apart(answers[name], expected) <= 1e-14
    assert answers[f"{name} single"].dtype == np.float32
    assert apart(answers[f"{name} single"], expected) <= 1e-5


def test_every_layer_has_a_statement() -> None:
    kinds = {node.layer.kind for case in CASES.values() for node in case.network.nodes}
    assert kinds == set(LAYERS)


@pytest.mark.parametrize("name", CASES)
def test_what_is_written_is_read_bit_by_bit(name: str, written: Path) -> None:
    case = CASES[name]
    found = PORTER.read(written / f"{name}.mat", Given()).trained
    assert found.network == case.network
    assert found.params.keys() == case.params().keys()
    for key, array in case.params().items():
        np.testing.assert_array_equal(found.params[key], array)


@pytest.mark.parametrize("name", ["graph", "conv_groups_dilation", "one_bias", "words"])
def test_structs_run_as_they_are(name: str, written: Path) -> None:
    case = CASES[name]
    source = PORTER.read(written / f"{name}.mat", Given())
    x = case.observations("now")
    learner = registry.get("numpy").learner(case.network, case.params(), dtype="float64")
    expected = learner.layer_outputs(x)
    found = source.layer_outputs(x, "float64")
    assert set(found) == set(expected)
    for node, array in found.items():
        assert array.shape == expected[node].shape
        np.testing.assert_allclose(array, expected[node], rtol=0, atol=1e-13)


INPUTS = {
    "space-invaders": generator(0, "frames").integers(0, 256, (4, 84, 84, 4), "uint8"),
    "sparse-autoencoder": generator(0, "pictures").random((20, 64)),
}


@pytest.mark.parametrize("name", INPUTS)
def test_octave_runs_recipes(name: str, tmp_path: Path) -> None:
    network, inputs = load_recipe(name).network, INPUTS[name]
    params = Initial(kernel="glorot_uniform", bias=("normal", 0.1)).draw(network, 0)
    own = Trained(network, params)
    paths = PORTER.write(own, tmp_path / f"{name}.mat", name)
    assert [path.name for path in paths] == [f"{name}.mat", f"{name.replace('-', '_')}.m"]
    written = PORTER.load(own, paths[0], name)
    assert written.runtime.startswith(("GNU Octave", "MATLAB"))
    assert apart(written.outputs(inputs, "float64"), oracle(network, params, inputs)) <= 1e-10
    back = written.params()
    assert all(np.array_equal(back[name], array) for name, array in params.items())


@pytest.mark.parametrize("version", ["5", "7", "7.3"])
def test_optimizer_state_goes_along_in_every_version(version: str, tmp_path: Path) -> None:
    case = CASES["two_biases"]
    rule = Adam(constant(0.01), 0.02, Clip(global_norm=0.5), beta1=0.8, epsilon=1e-3)
    values = {
        slot: {name: scale * array**2 for name, array in case.params().items()}
        for slot, scale in (("first_moment", 0.5), ("second_moment", 2.0))
    }
    own = replace(of_case(case), rule=rule, slots=Slots(17, values))
    PORTER.write(own, tmp_path / "net.mat", "net")
    files.write(tmp_path / "net.mat", files.read(tmp_path / "net.mat"), version)
    found = PORTER.read(tmp_path / "net.mat", Given()).trained
    assert found.rule == rule
    assert found.slots is not None and found.slots.updates == 17
    for slot, arrays in values.items():
        for name, array in arrays.items():
            np.testing.assert_array_equal(found.slots.values[slot][name], array)


@pytest.mark.parametrize("case", (*RULES, *GATED), ids=lambda case: case.name)
def test_every_rule_and_its_state(case: RuleCase, tmp_path: Path) -> None:
    learner = registry.get("numpy").learner(
        case.network, case.params(), rule=case.rule, dtype="float64"
    )
    for gradients in case.gradients(2):
        learner.apply_gradients(gradients)
    own = Trained(case.network, learner.params(), case.rule, learner.slots())
    PORTER.write(own, tmp_path / "net.mat", "net")
    found = PORTER.read(tmp_path / "net.mat", Given()).trained
    assert found.rule == case.rule and found.slots is not None
    expected = learner.slots()
    assert (found.slots.updates, found.slots.numbers) == (2, expected.numbers)
    assert set(found.slots.values) == set(expected.values)
    for slot, arrays in expected.values.items():
        assert set(found.slots.values[slot]) == set(arrays)
        for name, array in arrays.items():
            np.testing.assert_array_equal(found.slots.values[slot][name], array)


def test_a_search_goes_along(tmp_path: Path) -> None:
    """Scaled conjugate gradient keeps numbers besides arrays."""
    case, rule = CASES["graph"], SCG(damping=1e-6)
    values = {slot: case.params() for slot in rule.slots}
    slots = Slots(3, values, {**rule.numbers, "loss": 0.25})
    own = replace(of_case(case), rule=rule, slots=slots)
    PORTER.write(own, tmp_path / "net.mat", "net")
    found = PORTER.read(tmp_path / "net.mat", Given()).trained
    assert found.rule == rule and found.slots is not None
    assert found.slots.numbers == slots.numbers


def test_single_arrays_stay_single(tmp_path: Path) -> None:
    case = CASES["image"]
    params = {name: array.astype(np.float32) for name, array in case.params().items()}
    PORTER.write(Trained(case.network, params), tmp_path / "net.mat", "net")
    source = PORTER.read(tmp_path / "net.mat", Given())
    assert {array.dtype for array in source.trained.params.values()} == {np.dtype(np.float32)}
    x = case.observations("now")
    assert apart(source.outputs(x, "float64"), oracle(case.network, params, x)) <= 1e-14


# --- the proof -------------------------------------------------------------------------------


def test_a_port_is_proven_and_a_fault_is_seen(tmp_path: Path) -> None:
    own = of_case(CASES["conv_stride2_same"])
    PORTER.write(own, tmp_path / "net.mat", "net")
    shutil.copy(tmp_path / "net.mat", tmp_path / "source.mat")
    source = PORTER.read(tmp_path / "source.mat", Given())
    written = PORTER.load(own, tmp_path / "net.mat", "net")
    proof = prove(source, written, "numpy")
    assert proof.passed and proof.forward["float64"] <= 1e-12
    text = (tmp_path / "net.m").read_text()
    assert "[0 1; 0 1]" in text and text.startswith("function y = net(x)")
    (tmp_path / "net.m").write_text(text.replace("[0 1; 0 1]", "[1 0; 0 1]"))
    assert not prove(source, written, "numpy").passed


def test_a_wrong_layout_is_seen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The source runs MATLAB's own rows, so that a wrong order of gates in the port shows."""
    case = CASES["many_steps"]
    PORTER.write(of_case(case), tmp_path / "net.mat", "net")
    from triptych.port.matlab import layouts

    homes = dict(layouts.HOMES["gru"])
    for what in ("kernel", "recurrent_kernel"):
        reset, update = f"{what}_reset", f"{what}_update"
        homes[reset], homes[update] = homes[update], homes[reset]
    monkeypatch.setitem(layouts.HOMES, "gru", homes)
    source = PORTER.read(tmp_path / "net.mat", Given())
    x = case.observations("now")
    ours = oracle(source.trained.network, source.trained.params, x)
    assert apart(source.outputs(x, "float64"), ours) > 1e-3


def test_matlabs_own_outputs_are_compared(tmp_path: Path) -> None:
    case = CASES["image"]
    PORTER.write(of_case(case), tmp_path / "net.mat", "net")
    data = files.read(tmp_path / "net.mat")
    x = case.observations("now").astype(np.float64)
    y = oracle(case.network, case.params(), x)
    data["check"] = {"inputs": np.moveaxis(x, 0, -1), "outputs": y.T}
    files.write(tmp_path / "net.mat", data)
    PORTER.read(tmp_path / "net.mat", Given())
    data["check"]["outputs"] = y.T + 1e-6
    files.write(tmp_path / "net.mat", data)
    with pytest.raises(PortError, match=r"differ by .* from those that MATLAB gave"):
        PORTER.read(tmp_path / "net.mat", Given())
    data["check"] = {"inputs": np.ones((3, 1))}
    files.write(tmp_path / "net.mat", data)
    with pytest.raises(PortError, match="check must hold inputs and outputs"):
        PORTER.read(tmp_path / "net.mat", Given())


# --- names -----------------------------------------------------------------------------------


def test_names_that_mean_something_in_matlab(tmp_path: Path) -> None:
    network = parse(
        {"x": "3", "end": "dense 4 tanh", "net": "dense 3", "dense": "relu", "max": "dense 2"}
    )
    own = Trained(network, Initial(bias=("normal", 0.3)).draw(network, 0))
    path = tmp_path / "max.mat"
    assert [file.name for file in PORTER.write(own, path, "max")] == ["max.mat", "max_net.m"]
    x = generator(0, "x").normal(size=(4, 3))
    found = PORTER.load(own, path, "max").outputs(x, "float64")
    assert apart(found, oracle(network, own.params, x)) <= 1e-14
    assert PORTER.read(path, Given()).trained.network == network


@pytest.mark.parametrize(
    ("file", "name"),
    [("a-b c.mat", "a_b_c"), ("2nd.mat", "net2nd"), ("end.mat", "end_net"), ("net.mat", "net")],
)
def test_functions_have_names_that_matlab_allows(file: str, name: str) -> None:
    assert writing.function_name(Path(file)) == name


def test_text_from_a_file_stays_in_its_comment(tmp_path: Path) -> None:
    network = parse("2 -> dense 1")
    params = {"dense1/kernel": np.ones((2, 1)), "dense1/bias": np.ones(1)}
    bad = "x\n  system('touch hacked');\n%"
    own = Trained(network, params, places={"dense1": bad})
    PORTER.write(own, tmp_path / "it's.mat", bad)
    text = (tmp_path / "it_s.m").read_text()
    assert all("system" not in line.split("%")[0] for line in text.splitlines())
    found = PORTER.load(own, tmp_path / "it's.mat", bad).outputs(np.ones((2, 2)), "float64")
    np.testing.assert_array_equal(found, [[3.0], [3.0]])


def test_copied_functions_are_those_of_the_runner() -> None:
    known = writing.library()
    assert {"run_network", "convolution", "through_time"} <= set(known)
    text = RUNNER.read_text()
    assert all(part in text for part in known.values())
    # Only what is called is copied.
    chain = parse("2 -> dense 1 relu")
    params = Initial().draw(chain, 0)
    copied = writing.function_text(Trained(chain, params), Path("net.mat"), "net")
    assert "function y = dense(" in copied and "convolution" not in copied


# --- files that are no network ---------------------------------------------------------------


def _set(*path: Any) -> Callable[[dict[str, Any]], None]:
    """A change of one part: a path of keys, the last being the new value."""
    *keys, last, value = path

    def change(data: dict[str, Any]) -> None:
        part: Any = data
        for key in keys:
            part = part[key]
        part[last] = value

    return change


def _without(*path: Any) -> Callable[[dict[str, Any]], None]:
    def change(data: dict[str, Any]) -> None:
        part: Any = data
        for key in path[:-1]:
            part = part[key]
        del part[path[-1]]

    return change


_CONV = ("layers", 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_without("format"), "holds no network in the form triptych-network-1 .*export_network"),
        (_set("layers", "none"), "layers must be a cell of structs"),
        (_without(*_CONV, "arrays"), "layer 3: expected a struct with kind, name"),
        (_set(*_CONV, "name", np.ones((1, 1))), "kind and name must be text"),
        (_set(*_CONV, "kind", "convv"), r"conv1 \(convv\): has no canonical form .*did you mean"),
        (_set(*_CONV, "inputs", ["nothing"]), "takes 'nothing', which is no layer before it"),
        (_set(*_CONV, "inputs", []), r"takes 1 input\(s\)"),
        (_set(*_CONV, "inputs", [np.ones((1, 1))]), "inputs must be a cell of names"),
        (_set(*_CONV, "name", "rescale1"), "the name of two layers"),
        (_without(*_CONV, "options", "stride"), "the option 'stride' of conv is missing"),
        (_set(*_CONV, "options", "odd", np.ones((1, 1))), "'odd' is no option of conv"),
        (_set(*_CONV, "options", "stride", "two"), "stride must be numbers but is 'two'"),
        (_set(*_CONV, "options", "padding", "some"), "padding must be one of valid, same"),
        (_set(*_CONV, "options", "stride", np.array([[0.5, 1]])), "must be whole numbers"),
        (_set(*_CONV, "options", "stride", np.array([[0.0, 1]])), "must be 1 or more"),
        (_set(*_CONV, "options", "filters", np.array([[1.0, 2]])), "must be one whole number"),
        (_set(*_CONV, "options", "filters", np.array([[np.nan]])), "must be finite numbers"),
        (_set(*_CONV, "arrays", "weights", np.ones((3, 2, 3, 4))), "3x2x3x4 but 3x2x3x3 was"),
        (_set(*_CONV, "arrays", "weights", np.full((3, 2, 3, 3), np.nan)), "NaN or infinity"),
        (_set(*_CONV, "arrays", "weights", "code"), "weights must be an array of single or double"),
        (_without(*_CONV, "arrays", "weights"), "has no array 'weights'"),
        (_set(*_CONV, "arrays", "more", np.ones((1, 1))), "'more' that it has no use for"),
        (_set("layers", 0, "options", "size", np.array([[1e5, 1e5, 3]])), "numbers a sample"),
        (_set("layers", 0, "options", "size", np.array([[0.0, 5, 3]])), "say it with --input"),
        (_set("layers", 4, "options", "order", "any"), "row-major or column-major"),
        (_set("rule", "{"), "rule is no JSON text"),
        (_set("rule", '{"name": "adam", "rate": -1}'), "rule.rate"),
    ],
)
def test_what_is_no_network_is_named(
    change: Callable[[dict[str, Any]], None], message: str, tmp_path: Path, written: Path
) -> None:
    data = files.read(written / "image.mat")
    change(data)
    files.write(tmp_path / "net.mat", data, "5")
    with pytest.raises(PortError, match=message) as caught:
        PORTER.read(tmp_path / "net.mat", Given())
    assert "\n" not in str(caught.value)


def test_objects_are_for_matlab() -> None:
    with pytest.raises(PortError, match="export_network"):
        PORTER.read_object(object(), Given())


def test_other_endings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(PortError, match=r"end in \.mat"):
        PORTER.write(of_case(CASES["image"]), tmp_path / "net.onnx", "net")
    assert not list(tmp_path.iterdir())
