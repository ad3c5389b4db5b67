"""``.mat`` files of all versions: round trips, Octave's own, and broken or hostile ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import scipy.io

from triptych.errors import PortError
from triptych.port.matlab import files, limits, octave, version5
from triptych.spec.randomness import generator

DATA: dict[str, Any] = {
    "a": np.arange(24.0).reshape(2, 3, 4),
    "s": {
        "x": np.array([[1, 2]], np.float32),
        "name": "hello",
        "none": "",
        "empty": {},
        "yes": np.array([[True, False]]),
    },
    "c": [np.zeros((0, 3)), "b", {"q": np.ones((1, 1))}, [], ["u", ["v"]]],
    "i": np.array([[3, 200]], np.uint8),
    "k": np.array([[-5], [2**40]], np.int64),
}
VERSIONS = ("5", "7", "7.3")


def assert_same(left: Any, right: Any) -> None:
    assert type(left) is type(right)
    if isinstance(left, dict):
        assert list(left) == list(right) or set(left) == set(right)
        for key in left:
            assert_same(left[key], right[key])
    elif isinstance(left, list):
        assert len(left) == len(right)
        for one, other in zip(left, right, strict=True):
            assert_same(one, other)
    elif isinstance(left, str):
        assert left == right
    else:
        assert left.dtype == right.dtype
        np.testing.assert_array_equal(left, right)


@pytest.mark.parametrize("version", VERSIONS)
def test_what_is_written_is_read(version: str, tmp_path: Path) -> None:
    files.write(tmp_path / "x.mat", DATA, version)
    assert_same(files.read(tmp_path / "x.mat"), DATA)
    assert [path.name for path in tmp_path.iterdir()] == ["x.mat"]


def test_files_that_octave_wrote(tmp_path: Path) -> None:
    files.write(tmp_path / "ours.mat", DATA)
    octave.run(
        f"cd({octave.quoted(tmp_path)}); load('ours.mat');\n"
        "d = struct('k', {1, 'two'}); z = single(pi); e = {}; w = uint8([1 2]);\n"
        "save('v7.mat', '-v7'); save('v6.mat', '-v6'); save('own.mat', '-hdf5');",
        tmp_path,
    )
    for name in ("v7.mat", "v6.mat"):
        found = files.read(tmp_path / name)
        assert_same({key: found[key] for key in DATA}, DATA)
        assert_same(found["d"], [{"k": np.ones((1, 1))}, {"k": "two"}])
        assert found["e"] == []
        assert_same(found["z"], np.array([[np.pi]], np.float32))
    with pytest.raises(PortError, match="Octave's own HDF5 form"):
        files.read(tmp_path / "own.mat")


def test_files_of_the_other_byte_order_and_of_scipy(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"n": np.array([[1.5, -2.0]]), "t": ["ab", "cd"]})
    assert_same(files.read(tmp_path / "x.mat"), {"n": np.array([[1.5, -2.0]]), "t": ["ab", "cd"]})
    big = b"MATLAB 5.0".ljust(124) + b"\x01\x00MI"
    flags = (6, b"\x00\x00\x00\x06\x00\x00\x00\x00")
    dims, name = (5, b"\x00\x00\x00\x01\x00\x00\x00\x02"), (1, b"n")
    numbers = (9, np.array([1.5, -2.0], ">f8").tobytes())
    body = b"".join(_element(*part) for part in (flags, dims, name, numbers))
    (tmp_path / "big.mat").write_bytes(big + _element(14, body))
    assert_same(files.read(tmp_path / "big.mat"), {"n": np.array([[1.5, -2.0]])})


def _element(kind: int, data: bytes, order: str = ">") -> bytes:
    head = np.array([kind, len(data)], f"{order}u4").tobytes()
    return head + data + b"\0" * (-len(data) % 8)


def test_text_and_sizes_of_version_73(tmp_path: Path) -> None:
    """As MATLAB writes them: compressed chunks, a struct array, a cell in two axes."""
    files.write(tmp_path / "x.mat", {"c": ["p", "q", "r", "s"]}, "7.3")
    with h5py.File(tmp_path / "x.mat", "r+") as file:
        item = file.create_dataset("z", data=np.arange(6.0).reshape(3, 2), compression="gzip")
        item.attrs["MATLAB_class"] = np.bytes_("double")
        group = file.create_group("people")
        group.attrs["MATLAB_class"] = np.bytes_("struct")
        references = np.array([[file["c"][0, 0]], [file["c"][1, 0]]], h5py.ref_dtype)
        group.create_dataset("name", data=references, dtype=h5py.ref_dtype)
    found = files.read(tmp_path / "x.mat")
    assert_same(found["z"], np.arange(6.0).reshape(3, 2).T)
    assert found["people"] == [{"name": "p"}, {"name": "q"}]


# --- broken and hostile ----------------------------------------------------------------------


@pytest.mark.parametrize("version", VERSIONS)
def test_truncated_files_are_refused(version: str, tmp_path: Path) -> None:
    files.write(tmp_path / "x.mat", DATA, version)
    whole = (tmp_path / "x.mat").read_bytes()
    places = np.linspace(1, len(whole) - 1, 40).astype(int)
    refused = 0
    for place in places:
        (tmp_path / "cut.mat").write_bytes(whole[:place])
        try:
            found = files.read(tmp_path / "cut.mat")
        except PortError as error:
            assert "\n" not in str(error)
            refused += 1
        else:  # cut between two variables
            assert len(found) < len(DATA)
    assert refused >= 30


@pytest.mark.parametrize("version", ["5", "7"])
def test_any_byte_may_be_wrong(version: str, tmp_path: Path) -> None:
    files.write(tmp_path / "x.mat", DATA, version)
    whole = np.frombuffer((tmp_path / "x.mat").read_bytes(), np.uint8)
    stream = generator(0, "bytes")
    refused = 0
    for _ in range(300):
        wrong = whole.copy()
        wrong[stream.integers(128, len(whole), 3)] = stream.integers(0, 256, 3)
        (tmp_path / "wrong.mat").write_bytes(wrong.tobytes())
        try:
            files.read(tmp_path / "wrong.mat")
        except PortError:
            refused += 1
    assert refused > 100


def test_announced_sizes_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    files.write(path, {"a": np.ones((2, 2)), "b": np.ones((3, 1))}, "5")
    whole = bytearray(path.read_bytes())
    at = whole.index(np.array([2, 2], "<i4").tobytes())
    whole[at : at + 8] = np.array([2**30, 2**30], "<i4").tobytes()
    path.write_bytes(whole)
    with pytest.raises(PortError, match="truncated: an array of sizes"):
        files.read(path)
    files.write(path, {"a": ["x"]}, "5")
    whole = bytearray(path.read_bytes())
    at = whole.index(np.array([1, 1], "<i4").tobytes())
    whole[at : at + 8] = np.array([2**30, 1], "<i4").tobytes()
    path.write_bytes(whole)
    with pytest.raises(PortError, match=r"a cell announces 1,073,741,824 entries"):
        files.read(path)
    head = bytes(whole[:128]) + np.array([14, 2**31], "<u4").tobytes() + b"\0" * 64
    path.write_bytes(head)
    with pytest.raises(PortError, match=r"announces 2,147,483,648 bytes where 64 are left"):
        files.read(path)


def test_small_files_do_not_become_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files.write(tmp_path / "x.mat", {"a": np.zeros((500, 500))}, "7")
    for module in (limits, version5):
        monkeypatch.setattr(module, "MOST", 1_000_000)
    with pytest.raises(PortError, match="more than the 1,000,000 bytes"):
        files.read(tmp_path / "x.mat")
    monkeypatch.setattr(files, "MOST", 100)
    with pytest.raises(PortError, match="at most 100 are read"):
        files.read(tmp_path / "x.mat")


@pytest.mark.parametrize(
    ("kind", "what"), [(3, "object"), (5, "sparse"), (16, "function handle"), (17, "object")]
)
def test_code_is_refused(kind: int, what: str, tmp_path: Path) -> None:
    path = tmp_path / "x.mat"
    files.write(path, {"thing": np.ones((2, 2))}, "5")
    whole = bytearray(path.read_bytes())
    whole[128 + 16] = kind
    path.write_bytes(whole)
    with pytest.raises(PortError, match=what):
        files.read(path)


def test_complex_numbers_are_refused(tmp_path: Path) -> None:
    scipy.io.savemat(tmp_path / "x.mat", {"z": np.array([[1j]])})
    with pytest.raises(PortError, match="z is complex"):
        files.read(tmp_path / "x.mat")


def _hdf5(path: Path) -> h5py.File:
    files.write(path, {"a": np.ones((2, 2))}, "7.3")
    return h5py.File(path, "r+")


def _external_link(file: h5py.File) -> None:
    file["b"] = h5py.ExternalLink("/etc/passwd", "/")


def _soft_link(file: h5py.File) -> None:
    file["b"] = h5py.SoftLink("/a")


def _external_data(file: h5py.File) -> None:
    item = file.create_dataset("b", (4,), "u1", external=[("/etc/passwd", 0, 4)])
    item.attrs["MATLAB_class"] = np.bytes_("uint8")


def _virtual(file: h5py.File) -> None:
    layout = h5py.VirtualLayout((2, 2), "f8")
    layout[:] = h5py.VirtualSource("/etc/passwd", "a", (2, 2))
    file.create_virtual_dataset("b", layout).attrs["MATLAB_class"] = np.bytes_("double")


def _huge(file: h5py.File) -> None:
    item = file.create_dataset("b", (100_000, 20_000), "f8", chunks=(100, 100))
    item.attrs["MATLAB_class"] = np.bytes_("double")


def _huge_empty(file: h5py.File) -> None:
    item = file.create_dataset("b", data=np.array([10**9, 10**9], "u8"))
    item.attrs["MATLAB_class"] = np.bytes_("double")
    item.attrs["MATLAB_empty"] = np.uint8(1)


def _filter(file: h5py.File) -> None:
    file.create_dataset("b", data=np.zeros((10, 10)), compression="lzf")
    file["b"].attrs["MATLAB_class"] = np.bytes_("double")


def _handle(file: h5py.File) -> None:
    file.create_group("b").attrs["MATLAB_class"] = np.bytes_("function_handle")


def _object(file: h5py.File) -> None:
    file.create_dataset("b", data=np.zeros((1, 6), "u4")).attrs["MATLAB_class"] = np.bytes_(
        "dlnetwork"
    )


def _endless(file: h5py.File) -> None:
    item = file.create_dataset("b", (1, 1), h5py.ref_dtype)
    item[0, 0] = item.ref
    item.attrs["MATLAB_class"] = np.bytes_("cell")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_external_link, "a link that may lead out of the file"),
        (_soft_link, "a link that may lead out of the file"),
        (_external_data, "numbers in another file"),
        (_virtual, "numbers in another file"),
        (_huge, "announces|holds more than"),
        (_huge_empty, "empty double announces"),
        (_filter, "unknown filter"),
        (_handle, "function handle, which is code"),
        (_object, "dlnetwork, no plain data"),
        (_endless, "deep in each other"),
    ],
)
def test_hostile_hdf5_is_refused(change: Any, message: str, tmp_path: Path) -> None:
    with _hdf5(tmp_path / "x.mat") as file:
        change(file)
    with pytest.raises(PortError, match=message) as caught:
        files.read(tmp_path / "x.mat")
    assert "\n" not in str(caught.value)


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.mat").write_text("# Created by Octave\n")
    with pytest.raises(PortError, match=r"no \.mat file of version 5, 7 or 7\.3"):
        files.read(tmp_path / "x.mat")
    with pytest.raises(PortError, match="can't be read"):
        files.read(tmp_path / "none.mat")


def test_nothing_is_left_of_a_file_that_could_not_be_written(tmp_path: Path) -> None:
    with pytest.raises(PortError, match="MATLAB has no arrays of object"):
        files.write(tmp_path / "x.mat", {"a": np.array([object()])}, "7.3")
    assert not list(tmp_path.iterdir())
