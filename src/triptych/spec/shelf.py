"""Finding recipes: shipped ones by name, a user's own by path, both with overrides.

The meaning of a recipe is in ``recipe.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError

from triptych.errors import RecipeError, did_you_mean
from triptych.spec.fields import brief
from triptych.spec.recipe import CheckTask, CountActions, Recipe, parse_recipe


class _Loader(yaml.SafeLoader):
    """Plain YAML: no key written twice, where YAML would silently keep the last, and no aliases."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        """Return the next node; raise ConstructorError for an alias, which may repeat endlessly."""
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark
            raise ConstructorError(
                None, None, "aliases (*) are not allowed; repeat the value", mark
            )
        return super().compose_node(parent, index)

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping; raise ConstructorError for a key written twice."""
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                problem = f"key {brief(key.value)} is written twice"
                raise ConstructorError(None, None, problem, key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


# What PyYAML lets escape for values that its types cannot hold: dates, numbers, endless brackets.
_LEAKS = (ValueError, TypeError, AttributeError, LookupError, ArithmeticError, RecursionError)


def _load(text: str) -> Any:
    """Return the data of a YAML text; raise RecipeError with the line and the problem."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f"line {mark.line + 1}" if mark else "the text"
        problem = getattr(error, "problem", None) or "it holds characters that YAML forbids"
        raise RecipeError(f"{where} cannot be read: {problem}") from None
    except _LEAKS:
        raise RecipeError("it holds a value that YAML cannot read; put it into quotes") from None


def shipped() -> list[str]:
    """Return the names of the shipped recipes."""
    folder = files("triptych.recipes")
    names = [file.name for file in folder.iterdir()]
    return sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))


def load_recipe(
    name: str,
    overrides: Iterable[str] = (),
    check_task: CheckTask | None = None,
    count_actions: CountActions | None = None,
) -> Recipe:
    """Return a recipe by its shipped name or by the path of a YAML file.

    Args:
        name: ``fruit``, or a path that ends in ``.yaml``.
        overrides: texts such as ``task.grid=10``; values are read as YAML.
        check_task, count_actions: as of :func:`parse_recipe`.

    Raises:
        RecipeError: unknown name, unreadable file, bad override, or mistakes in the recipe.
    """
    if name.endswith((".yaml", ".yml")):
        try:
            text = Path(name).read_text(encoding="utf-8")
        except OSError as error:
            raise RecipeError(f"recipe file {name!r} cannot be read: {error.strerror}") from None
        except ValueError:
            raise RecipeError(f"recipe file {name!r} cannot be read: it is no UTF-8 text") from None
        label = Path(name).stem
    else:
        if name not in shipped():
            hint = did_you_mean(name, shipped())
            known = ", ".join(shipped())
            raise RecipeError(
                f"unknown recipe {name!r}{hint}; shipped are {known}; your own: give its .yaml path"
            )
        text = (files("triptych.recipes") / f"{name}.yaml").read_text(encoding="utf-8")
        label = name
    data = _read(label, text)
    for override in overrides:
        _override(data, override)
    return parse_recipe(label, data, check_task, count_actions)


def _read(name: str, text: str) -> dict[str, Any]:
    try:
        data = _load(text)
    except RecipeError as error:
        raise RecipeError(f"recipe {name!r}: {error}") from None
    if not isinstance(data, Mapping):
        raise RecipeError(f"recipe {name!r} is not a mapping of parts; see 'triptych recipes'")
    return dict(data)


def _override(data: dict[str, Any], text: str) -> None:
    """Put the value of ``part.option=value`` into the data."""
    path, equals, value = text.partition("=")
    *parents, last = [key.strip() for key in path.split(".")]
    if not equals or not all([*parents, last]):
        raise RecipeError(f"--set {text!r}: expected part.option=value, such as task.grid=10")
    options: Any = data
    for key in parents:
        if options.get(key) is None:
            options[key] = {}
        options = options[key]
        if not isinstance(options, dict):
            raise RecipeError(f"--set {text!r}: {key!r} holds a value, not options")
    try:
        options[last] = _load(value)
    except RecipeError as error:
        raise RecipeError(f"--set {text!r}: {error}") from None
