"""Datasets by name: whether a task that names one is right, and how it is made.

A new dataset is one file with its options and one line in :data:`DATASETS`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, fields
from typing import Any

from triptych.data.bars import Bars
from triptych.data.dataset import Dataset
from triptych.data.maps import InputMap, minmax
from triptych.data.options import Options
from triptych.errors import TaskError, did_you_mean
from triptych.spec.fields import build

DATASETS: dict[str, type[Options]] = {"triptych/bars": Bars}


def options(dataset: str) -> dict[str, Any]:
    """Return a dataset's options with their defaults.

    Raises:
        TaskError: the dataset is unknown.
    """
    if dataset not in DATASETS:
        raise TaskError(
            f"there is no dataset {dataset!r}{did_you_mean(dataset, DATASETS)}; "
            f"there are {', '.join(DATASETS)}"
        )
    return {item.name: item.default for item in fields(DATASETS[dataset])}


def problems(task: Mapping[str, Any]) -> list[str]:
    """Return one sentence for each mistake in a task; none if it is right."""
    return _read(task)[1]


def complete(task: Mapping[str, Any]) -> dict[str, Any]:
    """Return the task with a value for every option; raises TaskError as :func:`make`."""
    return {"dataset": task["dataset"], **asdict(_checked(task))}


def make(task: Mapping[str, Any]) -> Dataset:
    """Return the dataset of a recipe's task; each example is its own target.

    Args:
        task: ``dataset``, a name, and any of that dataset's options.

    Raises:
        TaskError: the task holds mistakes; all are named.
    """
    own = _checked(task)
    raw = own.draw()
    learned, held = raw[: own.examples], raw[own.examples :]
    fitted = InputMap() if own.minmax is None else minmax(learned, *own.minmax)
    train, validation = fitted(learned), fitted(held)
    return Dataset(
        {"observation": train, "target": train},
        {"observation": validation, "target": validation},
        fitted,
    )


def _checked(task: Mapping[str, Any]) -> Options:
    own, mistakes = _read(task)
    if own is None:
        raise TaskError("; ".join(mistakes))
    return own


def _read(task: Mapping[str, Any]) -> tuple[Options | None, list[str]]:
    name, mistakes = str(task.get("dataset")), list[str]()
    try:
        options(name)
    except TaskError as error:
        return None, [str(error)]
    given = {key: value for key, value in task.items() if key != "dataset"}
    return build(DATASETS[name], given, name.rsplit("/", 1)[-1], mistakes), mistakes
