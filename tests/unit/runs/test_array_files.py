"""The safetensors files: read by the library, right for every shape and memory layout."""

from __future__ import annotations

import numpy as np
import pytest
from safetensors.numpy import load_file

from triptych.errors import CheckpointError
from triptych.runs import arrays

AWKWARD = {
    "z/last": np.arange(5, dtype=np.uint8),
    "transposed": np.arange(6.0).reshape(2, 3).T,
    "strided": np.arange(10)[::3],
    "scalar": np.array(2.5, dtype=np.float32),
    "empty": np.zeros((0, 3), dtype=np.float16),
    "big endian": np.arange(3, dtype=">f8"),
    "truth": np.array([True, False]),
    "nan": np.array([np.nan, np.inf, -0.0]),
    "é|\\": np.array([-1], dtype=np.int8),
}


def write(path, content):
    with open(path, "wb") as handle:
        arrays.write(handle, content)


@pytest.mark.parametrize("reader", [arrays.read, load_file])
def test_awkward_arrays_round_trip(tmp_path, reader):
    write(tmp_path / "a", AWKWARD)
    found = reader(tmp_path / "a")
    assert set(found) == set(AWKWARD)
    for name, array in AWKWARD.items():
        assert found[name].shape == array.shape, name
        assert found[name].dtype == array.dtype.newbyteorder("="), name
        assert found[name].tobytes() == array.astype(found[name].dtype).tobytes(), name


@pytest.mark.parametrize("kind", sorted(arrays._DTYPES))
def test_every_type_round_trips(tmp_path, kind):
    write(tmp_path / "a", {"x": np.array([0, 1, 1], dtype=kind)})
    found = arrays.read(tmp_path / "a")["x"]
    assert found.dtype == kind
    assert found.tolist() == [0, 1, 1]


def test_order_is_kept_and_arrays_can_be_changed_without_changing_the_file(tmp_path):
    write(tmp_path / "a", AWKWARD)
    found = arrays.read(tmp_path / "a")
    assert list(found) == list(AWKWARD)
    found["strided"][0] = 99
    assert arrays.read(tmp_path / "a")["strided"][0] == 0


def test_wide_types_lie_first_so_that_all_are_aligned(tmp_path):
    write(tmp_path / "a", {"narrow": np.zeros(3, np.uint8), "wide": np.ones(2)})
    data = (tmp_path / "a").read_bytes()
    assert data.endswith(np.ones(2).tobytes() + bytes(3))
    assert (len(data) - 19) % 8 == 0


def test_nothing_at_all(tmp_path):
    write(tmp_path / "a", {})
    assert arrays.read(tmp_path / "a") == {}


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        ({"x": np.array(["a"])}, "array 'x' is of type <U1"),
        ({"x": np.array([None])}, "array 'x' is of type object"),
        ({"__metadata__": np.zeros(1)}, "choose another name"),
    ],
)
def test_what_the_format_cannot_hold(tmp_path, content, fault):
    with pytest.raises(CheckpointError, match=fault):
        write(tmp_path / "a", content)


def test_files_that_are_none(tmp_path):
    with pytest.raises(CheckpointError, match="is missing"):
        arrays.read(tmp_path / "a")
    (tmp_path / "a").write_bytes(b"not a safetensors file")
    with pytest.raises(CheckpointError, match="not a readable safetensors file"):
        arrays.read(tmp_path / "a")
