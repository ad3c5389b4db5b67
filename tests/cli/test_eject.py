"""``triptych eject`` as a person meets it."""

from __future__ import annotations

import subprocess
import sys

from terminal import triptych

WORDS = ("eject", "fruit", "--set", "task.grid=6")


def test_a_script_is_written_once(tmp_path):
    answer = triptych(*WORDS, "--backend", "torch", "--seed", "4", "--json", folder=tmp_path)
    script = tmp_path / "fruit_torch.py"
    lines = script.read_text().count("\n")
    expected = {"recipe": "fruit", "backend": "torch", "out": "fruit_torch.py", "lines": lines}
    assert answer.json == expected
    assert "triptych eject fruit --set task.grid=6 --backend torch --seed 4\n" in script.read_text()
    again = triptych(*WORDS, "--backend", "torch", folder=tmp_path).check_refused()
    assert "fruit_torch.py is there already" in again and "--force" in again
    forced = triptych(*WORDS, "--backend", "torch", "--force", folder=tmp_path)
    assert forced.code == 0 and "run it with: python fruit_torch.py" in forced.out
    assert "--seed 4" not in script.read_text()
    assert [path.name for path in tmp_path.iterdir()] == ["fruit_torch.py"]
    command = [sys.executable, "-I", str(script), "--episodes", "3", "--out", "kept"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=240)
    assert ran.returncode == 0, ran.stderr
    assert (tmp_path / "kept" / "metrics.csv").read_text().startswith("episode,frame,")
    assert (tmp_path / "kept" / "params.pt").exists()


def test_a_wrong_request_is_one_sentence(tmp_path):
    def refused(*words):
        return triptych(*words, folder=tmp_path).check_refused()

    assert "--backend torch, jax or keras" in refused(*WORDS)
    assert "did you mean 'keras'" in refused(*WORDS, "--backend", "kears")
    assert "'numpy' is the oracle" in refused(*WORDS, "--backend", "numpy")
    assert "has no budget" in refused(*WORDS, "--backend", "torch", "--budget", "none")
    assert "no folder" in refused(*WORDS, "--backend", "torch", "--out", "missing/script.py")
    wrong = ("--set", "network=6x6x1 -> flatten -> dense 2")
    assert "3 actions" in refused(*WORDS, *wrong, "--backend", "torch")
    assert list(tmp_path.iterdir()) == []
