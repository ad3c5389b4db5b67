"""Finding recipes: shipped ones by name, a user's own by path, both with overrides.

The meaning of a recipe is in ``recipe.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from copy import deepcopy
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from triptych.errors import RecipeError, did_you_mean
from triptych.spec.recipe import CheckTask, Recipe, parse_recipe


class _Loader(yaml.SafeLoader):
    """YAML that refuses a key written twice, where plain YAML silently keeps the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Return the mapping; raise RecipeError for a key written twice."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]  # type: ignore[no-untyped-call]
        for key in keys:
            if keys.count(key) > 1:
                line = node.start_mark.line + 1
                raise RecipeError(f"key {key!r} is written twice in the mapping of line {line}")
        return super().construct_mapping(node, deep)


def shipped() -> list[str]:
    """Return the names of the shipped recipes."""
    folder = files("triptych.recipes")
    return sorted(f.name.removesuffix(".yaml") for f in folder.iterdir() if f.name.endswith(".yaml"))


def load_recipe(
    name: str, overrides: Iterable[str] = (), check_task: CheckTask | None = None
) -> Recipe:
    """Return a recipe by its shipped name or by the path of a YAML file.

    Args:
        name: ``fruit``, or a path that ends in ``.yaml``.
        overrides: texts such as ``task.grid=10``; values are read as YAML.

    Raises:
        RecipeError: unknown name, unreadable file, bad override, or mistakes in the recipe.
    """
    if name.endswith((".yaml", ".yml")):
        try:
            text = Path(name).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"recipe file {name!r} cannot be read: {error}") from None
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
        data = _override(data, override)
    return parse_recipe(label, data, check_task)


def _read(name: str, text: str) -> dict[str, Any]:
    try:
        data = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        where = getattr(error, "problem_mark", None)
        place = f"line {where.line + 1}" if where else "the file"
        problem = getattr(error, "problem", None) or "bad YAML"
        raise RecipeError(f"recipe {name!r}: {place} cannot be read: {problem}") from None
    except RecipeError as error:
        raise RecipeError(f"recipe {name!r}: {error}") from None
    if not isinstance(data, Mapping):
        raise RecipeError(f"recipe {name!r} is not a mapping of parts; see 'triptych recipes'")
    return dict(data)


def _override(data: Mapping[str, Any], text: str) -> dict[str, Any]:
    path, equals, value = text.partition("=")
    if not equals or not path:
        raise RecipeError(f"--set {text!r}: expected part.option=value, such as task.grid=10")
    changed = deepcopy(dict(data))
    place: Any = changed
    *parents, last = path.split(".")
    for key in parents:
        if not isinstance(place.setdefault(key, {}), Mapping):
            raise RecipeError(f"--set {text!r}: {key!r} holds a value, not options")
        place = place[key]
    try:
        place[last] = yaml.safe_load(value)
    except yaml.YAMLError:
        raise RecipeError(f"--set {text!r}: the value cannot be read") from None
    return changed
