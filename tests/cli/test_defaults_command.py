"""``triptych defaults`` as a person meets it."""

from __future__ import annotations

from pathlib import Path

from terminal import triptych


def test_one_framework_as_json(tmp_path: Path) -> None:
    answer = triptych("defaults", "torch", "--json", folder=tmp_path)
    assert answer.code == 0
    found = answer.json
    assert found["command"] == "triptych defaults torch --json"
    assert "torch" in found["versions"]
    row = next(row for row in found["rows"] if row["key"] == "batch_norm.epsilon")
    assert list(row) == ["factor", "key", "torch", "triptych"]
    assert row["factor"] == "batch-norm-epsilon"
    assert row["torch"] == 1e-5


def test_an_unknown_framework_is_one_sentence(tmp_path: Path) -> None:
    sentence = triptych("defaults", "torhc", folder=tmp_path).check_refused()
    assert "unknown framework 'torhc' (did you mean 'torch'?)" in sentence
