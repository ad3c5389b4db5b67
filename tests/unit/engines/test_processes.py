"""Processes of their own: order, errors, deaths, Ctrl-C."""

from __future__ import annotations

import os
import signal
import threading
import time
from pathlib import Path

import jobs
import pytest

from triptych.engines.interrupts import noticing
from triptych.engines.processes import Job, run_all
from triptych.errors import RecipeError, RunError, StorageError

pytestmark = pytest.mark.usefixtures("signals_work")


def test_results_come_in_the_order_of_the_jobs() -> None:
    work = [Job(f"job {x}", jobs.double, (x,)) for x in (1, 2, 3)]
    assert run_all(work, show=False, workers=2) == [2, 4, 6]
    assert run_all([], show=False) == []


def test_threads_are_set_and_each_job_has_its_own_process() -> None:
    work = [Job("a", jobs.surroundings), Job("b", jobs.surroundings)]
    first, second = run_all(work, show=False, workers=1)
    threads = str(len(os.sched_getaffinity(0)))
    assert first["pid"] != second["pid"]
    assert os.getpid() not in (first["pid"], second["pid"])
    assert {first[name] for name in first if name != "pid"} == {threads}


def test_errors_arrive_after_the_others_have_ended() -> None:
    with pytest.raises(RecipeError, match=r"^a sentence$"):
        run_all([Job("bad", jobs.refuse), Job("good", jobs.double, (1,))], show=False)
    with pytest.raises(ZeroDivisionError, match="a fault") as caught:
        run_all([Job("bad", jobs.fail)], show=False)
    assert "jobs.py" in str(caught.value.__cause__)
    with pytest.raises(RuntimeError, match="Awkward: 1 and 2"):
        run_all([Job("bad", jobs.fail_awkwardly)], show=False)


def test_a_result_that_cannot_be_sent_is_an_error() -> None:
    with pytest.raises(Exception, match="lambda"):
        run_all([Job("bad", jobs.unpicklable)], show=False)


@pytest.mark.parametrize(
    ("function", "cause"),
    [
        (jobs.die, "was ended by SIGKILL, perhaps because memory ran out"),
        (jobs.leave_at_once, "ended with exit code 7"),
    ],
)
def test_a_process_that_dies_is_named(function: object, cause: str) -> None:
    with pytest.raises(RunError, match=f"the process of victim {cause}; run it again"):
        run_all([Job("victim", function)], show=False)  # type: ignore[arg-type]


def test_a_process_that_dies_before_it_reads_its_job(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONHOME", "/nowhere")
    with pytest.raises(RunError, match="the process of victim ended with exit code 1"):
        run_all([Job("victim", jobs.double, (b"x" * 10**6,))], show=False)


def test_warnings_are_sentences(capfd: pytest.CaptureFixture[str]) -> None:
    run_all([Job("warns", jobs.warn)], show=False)
    assert capfd.readouterr().err == "triptych: warning: going back\n"


def press_ctrl_c_when(*paths: Path) -> threading.Thread:
    def press() -> None:
        while not all(path.exists() for path in paths):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGINT)

    thread = threading.Thread(target=press, daemon=True)
    thread.start()
    return thread


def test_ctrl_c_lets_jobs_save_and_starts_no_more(tmp_path: Path) -> None:
    names = {"fast": 0.0, "slow": 0.6, "waiting": 0.0}
    work = [Job(n, jobs.touch_slowly, (f"{tmp_path}/{n}", wait)) for n, wait in names.items()]
    press_ctrl_c_when(tmp_path / "fast.begun", tmp_path / "slow.begun")
    with pytest.raises(KeyboardInterrupt):
        run_all(work, show=False, workers=2)
    made = {path.name for path in tmp_path.iterdir()}
    assert made == {"fast.begun", "fast.saved", "slow.begun", "slow.saved"}


def test_a_disk_that_is_full_while_saving_is_no_interrupt(tmp_path: Path) -> None:
    press_ctrl_c_when(tmp_path / "a.begun")
    with pytest.raises(StorageError, match="the disk is full"):
        run_all([Job("a", jobs.fill_the_disk_at_the_end, (f"{tmp_path}/a",))], show=False)


def test_signals_are_counted_and_the_third_interrupts() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with noticing() as noticed:
        assert not noticed
        os.kill(os.getpid(), signal.SIGTERM)
        assert noticed and noticed.count == 1
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
    assert signal.getsignal(signal.SIGTERM) is before
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with noticing() as noticed:
        os.kill(os.getpid(), signal.SIGINT)
        assert not noticed
