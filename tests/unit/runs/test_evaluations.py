"""evaluation.json only grows."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest

from triptych.errors import RunError
from triptych.runs import evaluations
from triptych.runs.folder import RunFolder


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    return RunFolder.create(tmp_path / "run", {"about": "x"}, {"backend": "torch"})


def test_entries_are_kept_once_and_never_replaced(run: RunFolder) -> None:
    assert evaluations.read(run) == []
    first, other = {"seed": 0, "returns": [1.5]}, {"seed": 0, "returns": [2.5]}
    evaluations.add(run, [first])
    evaluations.add(run, [other, first])
    assert evaluations.read(run) == [first, other]
    evaluations.add(run, [{"seed": np.int64(0), "returns": [np.float64(1.5)]}])
    assert evaluations.read(run) == [first, other]


def test_two_processes_at_once_lose_nothing(run: RunFolder) -> None:
    def many(who: int) -> None:
        for number in range(15):
            evaluations.add(run, [{"who": who, "number": number}])

    threads = [threading.Thread(target=many, args=(who,)) for who in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(evaluations.read(run)) == 60


@pytest.mark.parametrize("text", ["{", "[]", "{}", '{"evaluations": [1]}'])
def test_a_damaged_file_is_refused_and_left_alone(run: RunFolder, text: str) -> None:
    path = run.path / evaluations.FILE
    path.write_text(text)
    with pytest.raises(RunError, match=r"evaluation\.json"):
        evaluations.add(run, [{"seed": 0}])
    assert path.read_text() == text
