"""Runs ejected scripts in an interpreter where Triptych cannot be imported, and notes actions.

python -I ejected_driver.py JOBS.json, a list of {"script", "arguments", "actions"}: the path of a
script, its command line, and the file that its actions are written to.
"""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path


class Blocked:
    """Finds no Triptych."""

    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "triptych":
            raise ImportError("no triptych here")


def run(script, arguments, actions):
    spec = importlib.util.spec_from_file_location("script", script)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    act, noted = module.Agent.act, []

    def noting(agent, observation):
        noted.append(act(agent, observation))
        return noted[-1]

    module.Agent.act = noting
    sys.argv = [script, *arguments]
    module.main()
    Path(actions).write_text(json.dumps(noted))


if __name__ == "__main__":
    sys.meta_path.insert(0, Blocked())
    for job in json.loads(Path(sys.argv[1]).read_text()):
        run(**job)
    assert "triptych" not in sys.modules
