"""The result of a climb as data: verdicts, versions, recipe. Written and read as JSON."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from triptych.parity.rungs import Verdict, first_red
from triptych.spec.recipe import Recipe

_PACKAGES = (
    *("triptych", "numpy", "torch", "jax", "flax", "optax", "keras"),
    *("tensorflow-cpu", "tensorflow", "gymnasium", "ale-py"),
)


@dataclass(frozen=True)
class Certificate:
    """What was compared, with what, and how it came out."""

    recipe: Recipe
    backends: tuple[str, ...]
    seed: int
    verdicts: tuple[Verdict, ...]
    versions: dict[str, str]

    @classmethod
    def make(
        cls, recipe: Recipe, backends: Sequence[str], seed: int, verdicts: Sequence[Verdict]
    ) -> Certificate:
        """Return the certificate of verdicts with the versions installed here."""
        return cls(recipe, tuple(backends), seed, tuple(verdicts), installed_versions())

    @property
    def passed(self) -> bool:
        """Whether every comparison passed."""
        return all(verdict.passed for verdict in self.verdicts)

    def as_dict(self) -> dict[str, Any]:
        """As plain data: what ``verify --json`` prints."""
        return {
            "recipe": self.recipe.name,
            "backends": list(self.backends),
            "passed": self.passed,
            "rungs": [verdict.as_dict() for verdict in self.verdicts],
            "seed": self.seed,
            "versions": self.versions,
            "data": dict(self.recipe.data),
        }

    def sentence(self) -> str:
        """Return the verdict in one sentence."""
        pairs = len({verdict.pair for verdict in self.verdicts})
        if self.passed:
            return (
                f"Proven equal: all {len(self.verdicts)} comparisons on {pairs} "
                f"pair{'s' if pairs > 1 else ''} passed"
            )
        red = first_red(self.verdicts)
        assert red is not None
        return (
            f"Different: rung {red.rung} ({red.name}) fails for {red.pair} in {red.dtype}, "
            f"first at {red.culprit} ({red.detail})"
        )


def installed_versions() -> dict[str, str]:
    """Return the versions of the packages that matter, as installed, and of Python."""
    found = {"python": platform.python_version()}
    for package in _PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found
