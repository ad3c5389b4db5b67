"""Who may import whom."""

from __future__ import annotations

import pytest
from arrows import ARROWS, problems, sources

MODULES = sources()
# It imports PyTorch before TensorFlow, since the other order crashes on some systems.
WAIVERS = {
    "backends.registry": [
        "backends.registry imports torch: frameworks are for the backends' folders"
    ]
}


@pytest.mark.parametrize("module", MODULES)
def test_the_arrows_hold(module: str) -> None:
    assert problems(module, MODULES[module]) == WAIVERS.get(module, [])


def test_every_part_has_its_arrows() -> None:
    parts = {module.split(".")[0] for module in MODULES}
    assert parts - set(ARROWS) == {"__init__", "__main__", "cli", "recipes"}


BREAKING = [
    ("errors", "from triptych.spec import rules"),
    ("errors", "import triptych.runs"),
    ("spec.rules", "from triptych.backends.protocol import Params"),
    ("spec.rules", "import torch.nn as nn"),
    ("backends.base", "from triptych.learn import dqn"),
    ("backends.base", "import jax"),
    ("backends._torch.model", "from triptych.backends._jax import layers"),
    ("backends._torch.model", "from triptych.backends import _keras"),
    ("backends._torch.model", "from .._jax.layers import Conv"),
    ("backends._torch.model", "from triptych.backends.registry import get"),
    ("backends._jax.learner", "from triptych.learn.replay import ReplayMemory"),
    ("backends._jax.learner", "import triptych.envs"),
    ("backends._jax.learner", "from triptych.engines import setup"),
    ("backends._keras.learner", "from triptych.runs import arrays"),
    ("envs.fruit", "from triptych.learn import dqn"),
    ("envs.fruit", "from triptych.backends.protocol import Params"),
    ("learn.dqn", "from triptych.backends.registry import get"),
    ("learn.dqn", "from triptych.backends import base"),
    ("learn.dqn", "import triptych.envs as envs"),
    ("learn.dqn", "from triptych.runs.folder import RunFolder"),
    ("learn.dqn", "def later():\n    from optax import adam"),
    ("learn.dqn", "import importlib\nimportlib.import_module('tensorflow')"),
    ("runs.folder", "from triptych.learn import training"),
    ("runs.folder", "from ..engines import local"),
    ("engines.local", "from triptych.parity import ladder"),
    ("engines.local", "from triptych.report.page import Page"),
    ("engines.local", "from triptych.backends._torch import learner"),
    ("engines.local", "import keras"),
    ("parity.rungs", "from triptych.envs import make"),
    ("parity.rungs", "from triptych.report import page"),
    ("parity.rungs", "from triptych.testing import conformance"),
    ("report.page", "from triptych.parity import ladder"),
    ("report.page", "from triptych.engines import setup"),
    ("testing.cases", "from triptych.engines import setup"),
    ("__init__", "from triptych.spec.recipe import Recipe"),
    ("__init__", "import flax"),
    ("cli.train", "import torch"),
]


@pytest.mark.parametrize(("module", "source"), BREAKING)
def test_a_breach_is_found(module: str, source: str) -> None:
    assert len(problems(module, source)) == 1


FINE = [
    ("backends._torch.model", "import torch\nfrom triptych.backends._torch import layers"),
    ("backends._jax.learner", "from .layers import Conv\nfrom triptych.backends.base import Homes"),
    ("learn.dqn", "from triptych.backends.protocol import Learner\nimport gymnasium"),
    ("cli.compare", "from triptych.parity import ladder\nfrom triptych.report import page"),
    ("spec.layers.__init__", "from triptych.spec.layers import base\nfrom . import dense"),
]


@pytest.mark.parametrize(("module", "source"), FINE)
def test_what_is_allowed_passes(module: str, source: str) -> None:
    assert problems(module, source) == []
