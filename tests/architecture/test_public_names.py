"""``import triptych``: what it offers and what it costs."""

from __future__ import annotations

import json
import resource
import subprocess
import sys

import pytest
from arrows import FRAMEWORKS

import triptych

NAMES = [
    "Network", "Recipe", "TriptychError", "__version__", "climb_ladder", "get_backend",
    "load_recipe", "make_env", "make_learner", "parse_network", "resume_run", "start_run",
]  # fmt: skip


def test_the_public_names_are_these() -> None:
    assert sorted(triptych.__all__) == NAMES
    assert dir(triptych) == NAMES
    assert sorted([*triptych._PUBLIC, "__version__"]) == NAMES
    for name in NAMES:
        assert getattr(triptych, name) is not None
        assert name == "__version__" or name in (triptych.__doc__ or "")
    with pytest.raises(AttributeError, match="no attribute 'load_recipes'"):
        _ = triptych.load_recipes  # type: ignore[attr-defined]


def test_the_example_is_true() -> None:
    assert triptych.load_recipe("fruit", ["task.grid=10"]).network.parameter_count == 60_483


def loaded_by(statement: str) -> set[str]:
    code = f"{statement}\nimport json, sys\nprint(json.dumps(sorted(sys.modules)))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    return set(json.loads(found.stdout))


def test_import_loads_nothing_heavy() -> None:
    heavy = FRAMEWORKS | {"numpy", "yaml", "gymnasium", "tqdm", "safetensors", "PIL", "av", "cv2"}
    assert loaded_by("import triptych") & heavy == set()
    command = "from triptych.cli import main\ntry: main(['recipes', '--help'])\n"
    quiet = "import sys, io\nsys.stdout = io.StringIO()\n"
    after = "except SystemExit: pass\nsys.stdout = sys.__stdout__"
    assert loaded_by(quiet + command + after) & FRAMEWORKS == set()


def cpu_seconds(statement: str) -> float:
    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    before = used()
    subprocess.run([sys.executable, "-c", statement], check=True)
    return used() - before


def test_import_takes_under_a_third_of_a_second() -> None:
    assert min(cpu_seconds("import triptych") for _ in range(3)) < 0.3
