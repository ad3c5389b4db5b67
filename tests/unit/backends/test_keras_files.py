"""Keras' files as they come: whole ones, those of arrays alone, broken ones and hostile ones."""

from __future__ import annotations

import io
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from triptych.backends import registry
from triptych.backends.carried import Given
from triptych.errors import PortError
from triptych.port.proof import apart_by_example
from triptych.spec.notation import parse

PORTER = registry.porter("keras")  # which imports PyTorch before TensorFlow
sys.path.insert(0, str(Path(__file__).parents[2] / "zoo"))
keras, keras_zoo = pytest.importorskip("keras"), pytest.importorskip("keras_zoo")
layers, optimizers = keras.layers, keras.optimizers

NETWORK = parse("6x5x2 -> conv 4 3x3 -> relu -> flatten -> dense 3")
INPUTS = np.random.default_rng(0).normal(size=(3, 6, 5, 2)).astype("float32")


def model() -> Any:
    made = keras.Sequential([
        keras.Input((6, 5, 2)), layers.Conv2D(4, 3, activation="relu", name="first"),
        layers.Flatten(), layers.Dense(3, name="second"),
    ])  # fmt: skip
    made.compile(optimizer=optimizers.Adam(0.1), loss="mse", metrics=["mae"])
    made.fit(INPUTS, np.ones((3, 3)), shuffle=False, verbose=0)
    return keras_zoo.shake(made)


@pytest.fixture(scope="module")
def home() -> Any:
    return model()


# --- what is whole -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["net.keras", "net.h5"])
def test_whole_files_are_read_with_their_optimizer(name: str, home: Any, tmp_path: Path) -> None:
    home.save(tmp_path / name)
    source = PORTER.read(tmp_path / name, Given())
    trained = source.trained
    assert trained.network == NETWORK and not trained.notes
    assert np.array_equal(source.outputs(INPUTS, "float32"), np.asarray(home(INPUTS)))
    assert trained.rule is not None and trained.rule.name == "adam"
    assert trained.slots is not None and trained.slots.updates == 1
    own = np.array(home.optimizer._velocities[0])
    assert np.array_equal(trained.slots.values["second_moment"]["conv1/kernel"], own)


@pytest.mark.parametrize("name", ["net.weights.h5", "net.keras", "net.h5"])
def test_arrays_are_matched_to_a_network(name: str, home: Any, tmp_path: Path) -> None:
    (home.save_weights if "weights" in name else home.save)(tmp_path / name)
    source = PORTER.read(tmp_path / name, Given(network=NETWORK))
    assert apart_by_example(source.outputs(INPUTS, "float32"), np.asarray(home(INPUTS))) <= 1e-6
    found = source.gradients(INPUTS, np.ones((3, 3)), "float64")
    assert found is not None and set(found) == set(NETWORK.trainable)


def test_arrays_go_into_a_users_own_model(home: Any, tmp_path: Path) -> None:
    home.save_weights(tmp_path / "net.weights.h5")
    given = Given(make=lambda: keras.models.clone_model(home), where="mine.py:make")
    source = PORTER.read(tmp_path / "net.weights.h5", given)
    assert source.trained.network == NETWORK
    assert np.array_equal(source.outputs(INPUTS, "float32"), np.asarray(home(INPUTS)))


def test_an_optimizer_of_another_kind_is_left_behind(tmp_path: Path) -> None:
    other = model()
    other.compile(optimizer=optimizers.Nadam(0.1), loss="mse")
    other.save(tmp_path / "net.keras")
    trained = PORTER.read(tmp_path / "net.keras", Given()).trained
    assert trained.rule is None and "Nadam" in "".join(trained.notes)


MISMATCHED = {
    "6x5x2 -> conv 4 3x3 -> relu -> flatten -> dense 4": r"second.* expected to have .*4",
    "6x5x2 -> conv 4 3x3 -> flatten -> dense 3 -> dense 2": "no layer for dense2",
    "6x5x2 -> flatten -> dense 3": "belongs to no node",
}


@pytest.mark.parametrize("notation", MISMATCHED)
def test_arrays_that_do_not_fit_are_named(notation: str, home: Any, tmp_path: Path) -> None:
    home.save(tmp_path / "net.h5")
    with pytest.raises(PortError, match=MISMATCHED[notation]):
        PORTER.read(tmp_path / "net.h5", Given(network=parse(notation)))


def test_arrays_alone_ask_for_a_structure(home: Any, tmp_path: Path) -> None:
    home.save_weights(tmp_path / "net.weights.h5")
    with pytest.raises(PortError, match=r"no structure.*--network"):
        PORTER.read(tmp_path / "net.weights.h5", Given())


# --- what is broken or hostile -------------------------------------------------------------------


def changed(home: Any, path: Path, change: Callable[[dict[str, bytes]], None]) -> Path:
    """A ``.keras`` file with its members changed."""
    home.save(path)
    with zipfile.ZipFile(path) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    change(members)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def config(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, bytes]], None]:
    """A change of the second layer's entry (``first``) in the configuration."""

    def apply(members: dict[str, bytes]) -> None:
        found = json.loads(members["config.json"])
        change(found["config"]["layers"][1])
        members["config.json"] = json.dumps(found).encode()

    return apply


def weights(change: Callable[[h5py.File], None]) -> Callable[[dict[str, bytes]], None]:
    def apply(members: dict[str, bytes]) -> None:
        held = io.BytesIO(members["model.weights.h5"])
        with h5py.File(held, "r+") as file:
            change(file)
        members["model.weights.h5"] = held.getvalue()

    return apply


def swapped(file: h5py.File, make: Callable[[h5py.Group], None]) -> None:
    group = file["layers/dense/vars"]
    del group["0"]
    make(group)


def vast(group: h5py.Group) -> None:
    group.create_dataset("0", shape=(10**6, 10**6), dtype="f4", chunks=(1000, 1000))


def packed(group: h5py.Group) -> None:
    group.create_dataset("0", data=np.zeros((3000, 3000), "f4"), compression="gzip")


def with_nan(file: h5py.File) -> None:
    file["layers/dense/vars/0"][0, 0] = np.nan


_LAMBDA = {"class_name": "Lambda", "module": "keras.layers", "registered_name": None}
_CODE = {"class_name": "__lambda__", "config": {"code": "4wEAAAA=", "defaults": None}}
HOSTILE: dict[str, tuple[Callable[[dict[str, bytes]], None], str]] = {
    "a module of one's own": (
        config(lambda one: one.update(module="os", class_name="system")), "none of Keras' own",
    ),
    "a class of one's own": (
        config(lambda one: one.update(registered_name="mine>Layer")), "none of Keras' own",
    ),
    "a lambda layer": (config(lambda one: one.update(_LAMBDA)), "code of its own"),
    "a lambda": (config(lambda one: one["config"].update(activation=_CODE)), "code of its own"),
    "a function": (
        config(lambda one: one["config"].update(activation={
            "class_name": "function", "module": "subprocess", "config": "relu",
        })), "code of its own",
    ),
    "a layer unknown here": (
        config(lambda one: one.update(class_name="MultiHeadAttention")), "no canonical form",
    ),
    "a vast layer": (
        config(lambda one: one["config"].update(filters=10**9)), "more than the .* numbers",
    ),
    "another shape": (config(lambda one: one["config"].update(filters=3)), "can't be loaded"),
    "a climbing path": (
        lambda members: members.update({"../../evil.py": b"1"}), "holds '../../evil.py'",
    ),
    "no arrays": (lambda members: members.pop("model.weights.h5"), "lacks model.weights.h5"),
    "no json": (lambda members: members.update({"config.json": b"{"}), "not a whole file"),
    "a deep configuration": (
        lambda members: members.update({
            "config.json": b'{"a":' * 900 + b"1" + b"}" * 900}), "nested deeper|not a whole file",
    ),
    "a bomb": (
        lambda members: members.update({"model.weights.h5": bytes(400_000_000)}), "announces",
    ),
    "no hdf5": (lambda members: members.update({"model.weights.h5": b"x" * 90}), "can be read"),
    "cut off": (
        lambda members: members.update({
            "model.weights.h5": members["model.weights.h5"][:5000]}), "can be read",
    ),
    "nan": (weights(with_nan), r"dense/vars/0 holds NaN"),
    "an array of nothing": (weights(lambda file: swapped(file, vast)), "announces"),
    "a packed array": (weights(lambda file: swapped(file, packed)), "announces"),
    "a link outside": (
        weights(lambda file: swapped(file, lambda group: group.__setitem__(
            "0", h5py.ExternalLink("/etc/passwd", "/")))), "ExternalLink",
    ),
    "a soft link": (
        weights(lambda file: swapped(file, lambda group: group.__setitem__(
            "0", h5py.SoftLink("/layers/conv2d/vars/0")))), "SoftLink",
    ),
    "data outside": (
        weights(lambda file: swapped(file, lambda group: group.create_dataset(
            "0", shape=(48, 3), dtype="f4", external=[("/etc/passwd", 0, 576)]))), "another file",
    ),
    "text": (
        weights(lambda file: swapped(file, lambda group: group.create_dataset(
            "0", data=[b"abc", b"def"]))), "arrays of numbers",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_archives_are_refused(name: str, home: Any, tmp_path: Path) -> None:
    change, words = HOSTILE[name]
    path = changed(home, tmp_path / "net.keras", change)
    before = set(tmp_path.iterdir())
    with pytest.raises(PortError, match=words) as caught:
        PORTER.read(path, Given())
    assert "net.keras" in str(caught.value) and "\n" not in str(caught.value)
    assert set(tmp_path.iterdir()) == before


OLD: dict[str, tuple[Callable[[h5py.File], None], str]] = {
    "a lambda layer": (
        lambda file: file.attrs.modify("model_config", file.attrs["model_config"].replace(
            '"class_name": "Flatten"', '"class_name": "Lambda"')), "code of its own",
    ),
    "a link outside": (
        lambda file: file["model_weights"].__setitem__("x", h5py.ExternalLink("/etc/passwd", "/")),
        "ExternalLink",
    ),
    "no configuration": (
        lambda file: file.attrs.modify("model_config", "[1"), "not a whole file",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OLD)
def test_hostile_old_files_are_refused(name: str, home: Any, tmp_path: Path) -> None:
    change, words = OLD[name]
    home.save(tmp_path / "net.h5")
    with h5py.File(tmp_path / "net.h5", "r+") as file:
        change(file)
    with pytest.raises(PortError, match=words):
        PORTER.read(tmp_path / "net.h5", Given())


@pytest.mark.parametrize("name", ["net.keras", "net.h5"])
@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04 no archive", b"\x89HDF\r\n\x1a\n" + b"0" * 99]
)
def test_what_is_no_file_of_keras_is_refused(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(PortError, match="can be read"):
        PORTER.read(tmp_path / name, Given())
