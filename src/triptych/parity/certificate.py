"""The result of a climb as data: verdicts, versions, recipe. Written and read as JSON."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any, ClassVar

from triptych.parity.diagnosis.cause import Diagnosis
from triptych.parity.rungs import Verdict
from triptych.spec.recipe import Recipe

_PACKAGES = (
    *("triptych", "numpy", "torch", "jax", "flax", "optax", "keras"),
    *("tensorflow-cpu", "tensorflow", "gymnasium", "ale-py", "scipy", "statsmodels"),
)


OUTCOME = 8
"""The rung that needs trained runs, and comes to a certificate after the climb."""


@dataclass(frozen=True)
class Certificate:
    """What was compared, with what, and how it came out."""

    recipe: Recipe
    backends: tuple[str, ...]
    seed: int
    verdicts: tuple[Verdict, ...]
    versions: dict[str, str]
    diagnoses: tuple[Diagnosis, ...] = ()
    notes: ClassVar[tuple[str, ...]] = ()
    """Two native codes may need some; a recipe is compared on what it says."""

    @classmethod
    def make(
        cls,
        recipe: Recipe,
        backends: Sequence[str],
        seed: int,
        verdicts: Sequence[Verdict],
        diagnoses: Sequence[Diagnosis] = (),
    ) -> Certificate:
        """Return the certificate of verdicts with the versions installed here."""
        versions = installed_versions()
        return cls(recipe, tuple(backends), seed, tuple(verdicts), versions, tuple(diagnoses))

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
            "diagnosis": [cause for one in self.diagnoses for cause in one.as_dicts()],
            "seed": self.seed,
            "versions": self.versions,
            "data": dict(self.recipe.data),
        }

    def sentence(self) -> str:
        """Return the verdict in one sentence."""
        return sentence_of([verdict.as_dict() for verdict in self.verdicts])

    def reasons(self) -> list[str]:
        """Return a line for each cause that was found."""
        found = [sentence for one in self.diagnoses for sentence in one.sentences()]
        return [f"because: {sentence}" for sentence in found]


def with_outcome(
    certificate: Mapping[str, Any], verdicts: Sequence[Verdict], outcome: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a certificate's plain data with rung 8 in it, in place of an earlier one.

    Args:
        certificate: as :meth:`Certificate.as_dict` gives it.
        verdicts: of rung 8, one per pair.
        outcome: what :func:`triptych.parity.outcome.judge` found; kept under ``outcome``.
    """
    below = [rung for rung in certificate["rungs"] if rung["rung"] != OUTCOME]
    rungs = [*below, *(verdict.as_dict() for verdict in verdicts)]
    return dict(certificate) | {
        "passed": all(rung["passed"] is True for rung in rungs),
        "rungs": rungs,
        "outcome": dict(outcome),
        "sentence": sentence_of(rungs),
    }


def sentence_of(rungs: Sequence[Mapping[str, Any]]) -> str:
    """Return the verdict on all rungs, as plain data, in one sentence.

    The lowest rung that failed is named; before one that is open (``passed`` is None).
    """
    for word, passed, verb in (("Different", False, "fails"), ("Undecided", None, "is open")):
        found = [rung for rung in rungs if rung["passed"] is passed]
        if found:
            first = min(found, key=lambda rung: rung["rung"])
            where = f", first at {first['culprit']}" if first["culprit"] else ""
            return (
                f"{word}: rung {first['rung']} ({first['name']}) {verb} for {first['pair']} in "
                f"{first['dtype']}{where} ({first['detail']})"
            )
    pairs = len({rung["pair"] for rung in rungs})
    return (
        f"Proven equal: all {len(rungs)} comparisons on {pairs} "
        f"pair{'s' if pairs > 1 else ''} passed"
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
