"""Triptych: describe an agent once, train it natively in Keras, PyTorch and JAX, prove them equal.

This module holds the public names, looked up on first use; importing it imports no framework and
not even NumPy. Nothing is implemented here.

==================  ============================================================
``load_recipe``     a recipe by name or path, with overrides, checked as a whole
``Recipe``          one experiment as data
``parse_network``   a network from the text notation
``Network``         named layers with inferred shapes; no framework, no weights
``get_backend``     a backend by name: ``torch``, ``jax``, ``keras``, ``numpy``
``make_env``        the Gymnasium environment of a recipe
``make_learner``    a recipe's network, objective and update rule on one backend
``start_run``       begin a training in a new run folder; ``.run()`` trains
``resume_run``      go on with one
``climb_ladder``    prove two or more backends equal; returns a certificate
``TriptychError``   the base of every error that a user can meet
==================  ============================================================

Example:
    >>> import triptych
    >>> recipe = triptych.load_recipe("fruit", ["task.grid=10"])
    >>> recipe.network.parameter_count
    60483
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from triptych.backends.registry import get as get_backend
    from triptych.engines.local import resume as resume_run
    from triptych.engines.local import start as start_run
    from triptych.engines.setup import load_recipe, make_env, make_learner
    from triptych.errors import TriptychError
    from triptych.parity.ladder import climb as climb_ladder
    from triptych.spec.network import Network
    from triptych.spec.notation import parse as parse_network
    from triptych.spec.recipe import Recipe

__version__ = "0.1.0"

_PUBLIC: dict[str, tuple[str, str]] = {
    "Network": ("triptych.spec.network", "Network"),
    "Recipe": ("triptych.spec.recipe", "Recipe"),
    "TriptychError": ("triptych.errors", "TriptychError"),
    "climb_ladder": ("triptych.parity.ladder", "climb"),
    "get_backend": ("triptych.backends.registry", "get"),
    "load_recipe": ("triptych.engines.setup", "load_recipe"),
    "make_env": ("triptych.engines.setup", "make_env"),
    "make_learner": ("triptych.engines.setup", "make_learner"),
    "parse_network": ("triptych.spec.notation", "parse"),
    "resume_run": ("triptych.engines.local", "resume"),
    "start_run": ("triptych.engines.local", "start"),
}
"""Public name: the module that holds it, and its name there."""

__all__ = [
    "Network",
    "Recipe",
    "TriptychError",
    "__version__",
    "climb_ladder",
    "get_backend",
    "load_recipe",
    "make_env",
    "make_learner",
    "parse_network",
    "resume_run",
    "start_run",
]


def __getattr__(name: str) -> Any:
    if name not in _PUBLIC:
        raise AttributeError(f"module 'triptych' has no attribute {name!r}")
    module, there = _PUBLIC[name]
    return getattr(import_module(module), there)


def __dir__() -> list[str]:
    return sorted(__all__)
