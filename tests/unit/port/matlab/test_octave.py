"""Calling ``.m`` functions: arrays there and back, and what goes wrong on the way."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from triptych.backends.carried import Trained
from triptych.errors import MissingDependency, PortError
from triptych.port.matlab import call, calls, compare, octave
from triptych.spec.notation import parse


def function(folder: Path, name: str, body: str) -> Path:
    path = folder / f"{name}.m"
    path.write_text(f"function y = {name}(x)\n{body}\nend\n")
    return path


def test_arrays_keep_their_order(tmp_path: Path) -> None:
    same = function(tmp_path, "same", "y = x;")
    shape = function(tmp_path, "sizes", "y = repmat(size(x)', 1, size(x, ndims(x)));")
    x = np.arange(120.0).reshape(2, 3, 4, 5)
    features = np.arange(6.0).reshape(3, 2)
    one = np.arange(4.0).reshape(1, 4)
    single = features.astype(np.float32)
    found = calls([(same, x), (same, features), (same, one), (same, single), (shape, x)])
    for ours, theirs in zip((x, features, one, single), found, strict=False):
        np.testing.assert_array_equal(ours, theirs)
        assert ours.dtype == theirs.dtype
    np.testing.assert_array_equal(found[4], [[3, 4, 5, 2]] * 2)


def test_one_image_keeps_its_axes(tmp_path: Path) -> None:
    same = function(tmp_path, "same", "y = x;")
    x = np.arange(24.0).reshape(1, 3, 4, 2)
    np.testing.assert_array_equal(call(same, x), x)


def test_two_functions_of_one_name(tmp_path: Path) -> None:
    paths = []
    for factor in (2, 3):
        (tmp_path / str(factor)).mkdir()
        paths.append(function(tmp_path / str(factor), "times", f"y = {factor} * x;"))
    x = np.ones((2, 1))
    assert [y[0, 0] for y in calls([(path, x) for path in paths])] == [2.0, 3.0]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("error('no such luck');", "Octave says: no such luck"),
        ("y = x +;", "parse error"),
        ("y = missing_function(x);", "missing_function"),
        ("y = 'text';", "no array of numbers"),
        ("y = x(:, 1);", "last axis is not the 3 samples"),
        ("while true, end", "stopped after 2 seconds"),
        ("exit(3);", "Octave says: nothing, but fails"),
        ("exit(0);", "can't be read"),
    ],
)
def test_what_fails_is_one_sentence(body: str, message: str, tmp_path: Path) -> None:
    path = function(tmp_path, "wrong", body)
    with pytest.raises(PortError, match=message) as caught:
        call(path, np.ones((3, 2)), timeout=2.0 if "while" in body else 60.0)
    assert "\n" not in str(caught.value)


def test_what_is_no_function(tmp_path: Path) -> None:
    with pytest.raises(PortError, match=r"there is no \.m file"):
        call(tmp_path / "none.m", np.ones((1, 1)))
    odd = tmp_path / "my-net.m"
    odd.write_text("y = 1;")
    with pytest.raises(PortError, match="'my-net' is no name of a function"):
        call(odd, np.ones((1, 1)))


def test_neither_octave_nor_matlab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = function(tmp_path, "same", "y = x;")
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv(octave.VARIABLE, raising=False)
    with pytest.raises(MissingDependency, match="apt-get install octave"):
        call(path, np.ones((1, 1)))
    assert octave.runtime() == "GNU Octave (not installed)"
    monkeypatch.setenv(octave.VARIABLE, "no-such-octave")
    with pytest.raises(PortError, match="no program that can be run"):
        call(path, np.ones((1, 1)))


def test_a_users_own_network_is_compared(tmp_path: Path) -> None:
    network = parse("2 -> dense 3 tanh")
    kernel, bias = np.array([[1.0, 2.0, 3.0], [0.5, -0.5, 0.1]]), np.array([0.1, 0.2, 0.3])
    trained = Trained(network, {"dense1/kernel": kernel, "dense1/bias": bias})
    weights = "W = [1 0.5; 2 -0.5; 3 0.1]; b = [0.1; 0.2; 0.3];"
    right = function(tmp_path, "right", f"{weights} y = tanh(W * x + b);")
    wrong = function(tmp_path, "wrong", f"{weights} y = tanh(W * x - b);")
    x = np.linspace(-1.0, 1.0, 8).reshape(4, 2)
    assert compare(right, trained, x).apart < 1e-15
    assert compare(wrong, trained, x).apart > 0.1
    more = function(tmp_path, "more", "y = [x; x];")
    with pytest.raises(PortError, match=r"gives \(4,\) for each sample"):
        compare(more, trained, x)
