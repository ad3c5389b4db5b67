"""The catalogue of factors: one YAML page in ``triptych/factors`` for each way trainings differ.

A page says in words what a factor is, how each framework computes it, what one sees in training,
and how to align it. It is found by its slug (``epsilon-place``) or by a key of an audit
(``optimizer.epsilon_inside_root``). Drawing and printing pages is in ``report`` and ``cli``.
"""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cache
from importlib.resources import files
from typing import Any

import yaml

from triptych.errors import TriptychError, did_you_mean

GROUPS = (
    "layout",
    "architecture",
    "activations",
    "normalisation",
    "dropout",
    "recurrent",
    "initial values",
    "types",
    "update rules",
    "losses",
    "data",
    "deep Q-learning",
)
"""The groups of factors, in the order in which a network meets them."""

FRAMEWORKS = ("any", "torch", "keras", "jax", "triptych")
"""Whose formula or whose advice; ``any`` holds for all, ``triptych`` is said in a recipe."""


@dataclass(frozen=True)
class Formula:
    """What a framework computes: ``math`` in plain Unicode, ``code`` that asks for it."""

    math: str = ""
    code: str = ""


@dataclass(frozen=True)
class Factor:
    """One page of the catalogue.

    Attributes:
        name: the slug, such as ``epsilon-place``; it is the file's name.
        title: what people call it.
        group: one of :data:`GROUPS`.
        keys: patterns of audit keys with ``*`` and ``?``, such as ``*.padding``.
        what: what it is, for a newcomer.
        formulas: by framework, where frameworks differ.
        effect: what one sees in training, with numbers.
        matters: when it matters, and from when.
        fix: by framework, how to make two sides equal, in native code.
        plot: the name of a function in :mod:`triptych.report.effects`, or None.
        source: papers with equations, and pages of documentation.
        absent: the slug to name instead where one of two sides has no value at all.
    """

    name: str
    title: str
    group: str
    keys: tuple[str, ...]
    what: str
    effect: str
    matters: str
    source: tuple[str, ...]
    formulas: Mapping[str, Formula] = field(hash=False)
    fix: Mapping[str, str] = field(hash=False)
    plot: str | None = None
    absent: str | None = None

    def advises_code(self, side: str) -> bool:
        """Whether the advice for a side is code (of a framework or a recipe) and not a sentence."""
        if side in ("any", "triptych"):
            return side == "triptych"
        try:
            ast.parse(self.fix[side])
        except SyntaxError:
            return False
        return True


@cache
def factors() -> tuple[Factor, ...]:
    """Return all pages, by group and then by slug."""
    folder = files("triptych").joinpath("factors")
    pages = [
        _page(file.name.removesuffix(".yaml"), file.read_text(encoding="utf-8"))
        for file in folder.iterdir()
        if file.name.endswith(".yaml")
    ]
    return tuple(sorted(pages, key=lambda page: (GROUPS.index(page.group), page.name)))


def factor(name: str) -> Factor:
    """Return a page by its slug or by an audit key.

    Raises:
        TriptychError: neither a slug nor a key of a known factor.
    """
    pages = {page.name: page for page in factors()}
    found = pages.get(name.strip().lower().replace("_", "-")) or of_key(name)
    if found is not None:
        return found
    keys = [key for page in factors() for key in page.keys if "*" not in key]
    hint = did_you_mean(name, [*pages, *keys])
    raise TriptychError(
        f"unknown factor {name!r}{hint}; expected a factor such as 'epsilon-place' or an audit key "
        "such as 'optimizer.epsilon'; 'triptych explain' lists all"
    )


def of_key(key: str, *values: Any) -> Factor | None:
    """Return the page of an audit key, or None where no page is about it.

    Where several patterns match, the most specific one counts: the one with most letters that are
    not wildcards.

    Args:
        key: such as ``conv1.padding``.
        values: what the sides have under the key. Two activations of one kind with other
            constants (``leaky_relu slope 0.2``, ``leaky_relu slope 0.01``) are about the constant,
            and a value that one side lacks (None) may be another factor than one that differs.
    """
    matches = [
        (_weight(pattern), page)
        for page in factors()
        for pattern in page.keys
        if fnmatchcase(key, pattern)
    ]
    if not matches:
        return None
    found = max(matches, key=lambda match: match[0])[1]
    if found.absent and None in values:
        return factor(found.absent)
    return _of_constants(values) or found if found.name == "activation" else found


def _weight(pattern: str) -> tuple[int, int]:
    """How specific a pattern is: its letters, then how few wildcards it has."""
    wild = pattern.count("*") + pattern.count("?")
    return len(pattern) - wild, -wild


def _of_constants(values: tuple[Any, ...]) -> Factor | None:
    """Return the page of the constant in which activations of one kind differ."""
    kinds = {str(value).split()[0] if str(value).split() else "" for value in values}
    if len(kinds) != 1:
        return None
    node = f"{kinds.pop()}1."
    own = [page for page in factors() if page.group == "activations"]
    fits = [page for page in own if any(fnmatchcase(node, _node(key)) for key in page.keys)]
    return fits[0] if fits else None


def _node(pattern: str) -> str:
    """The part of a pattern that names the node, with its dot: ``elu*.``."""
    return pattern.partition(".")[0] + "."


# The C parser is ten times as fast where PyYAML was built with it.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _page(name: str, text: str) -> Factor:
    data = yaml.load(text, Loader=_LOADER)
    formulas = {side: Formula(**lines) for side, lines in data.pop("formulas").items()}
    keys, source = tuple(data.pop("keys")), tuple(data.pop("source"))
    return Factor(name=name, keys=keys, source=source, formulas=formulas, **data)
