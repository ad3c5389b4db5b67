"""An environment's exact state as plain data, and back.

``snapshot`` walks an environment's layers, from the outermost wrapper to the environment itself,
and keeps each layer's plain attributes and generators; an Atari emulator is kept as its own bytes.
What cannot be kept exactly is refused, never skipped. Files do not belong here: ``runs`` writes
snapshots as JSON (plain data) and safetensors (arrays).
"""

from __future__ import annotations

import json
import types
from collections import deque
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec

from triptych.envs import atari
from triptych.envs.minatar import MinAtarEnv
from triptych.errors import CheckpointError, TaskError
from triptych.spec import randomness

_PLAIN = (type(None), bool, int, float, str)
_FIXED_NAMES = {
    "env", "spec", "metadata", "render_mode", "_metadata", "_cached_spec", "_saved_kwargs",
}  # fmt: skip
_FIXED_TYPES = (
    gymnasium.Space,
    EnvSpec,
    type,
    np.dtype,
    types.FunctionType,
    types.MethodType,
    types.BuiltinFunctionType,
)
_GENERATORS = {"PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"}


def snapshot(env: Any) -> dict[str, Any]:
    """Return the exact state of an environment: nested dicts of plain data and NumPy arrays.

    The generators of the environment and its wrappers are part of it, those of its spaces (which
    ``action_space.sample()`` uses) are not. The environment goes on unchanged.

    Args:
        env: an environment from :func:`triptych.envs.make`, or a ``FruitVectorEnv``.

    Raises:
        TaskError: the environment holds something that is not plain data.
    """
    layers = list(_layers(env))
    saved = {str(i): {"made": _made(x), "state": _save(x)} for i, x in enumerate(layers)}
    return {"layers": saved}


def restore(env: Any, snapshot: Mapping[str, Any]) -> None:
    """Put an environment, fresh or used, into the state of a snapshot.

    An Atari game's ``render`` shows the restored game from the next step on.

    Raises:
        CheckpointError: the snapshot is damaged, or of an environment made otherwise.
    """
    layers = list(_layers(env))
    try:
        saved = [snapshot["layers"][str(i)] for i in range(len(snapshot["layers"]))]
        made = [layer["made"] for layer in saved]
        states = [_decode_items(layer["state"]) for layer in saved]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise CheckpointError(f"the saved state of environment {env} is damaged") from error
    here = [_made(layer) for layer in layers]
    if made != here:
        theirs, ours = next((a, b) for a, b in zip_longest(made, here) if a != b)
        raise CheckpointError(
            f"the saved state is of another environment than {env}, or of one made with other "
            f"options: saved is {theirs}, here is {ours}; make it from the task it was saved for"
        )
    for layer, state in zip(layers, states, strict=True):
        _load(layer, state)


def _layers(env: Any) -> Iterator[Any]:
    while isinstance(env, gymnasium.Wrapper | gymnasium.vector.VectorWrapper):
        yield env
        env = env.env
    yield env


def _made(layer: Any) -> str:
    """Return what tells two layers apart: class, arguments and spaces, but not how they render."""
    spec = getattr(layer, "spec", None)
    if isinstance(layer, MinAtarEnv):
        return f"MinAtarEnv {layer.made}"
    arguments = getattr(layer, "_saved_kwargs", spec.kwargs if spec else {})
    fixed = {name: value for name, value in arguments.items() if name != "render_mode"}
    spaces = f"{layer.observation_space} {layer.action_space}"
    return f"{type(layer).__qualname__} {json.dumps(fixed, sort_keys=True, default=str)} {spaces}"


def _is_emulator(layer: Any) -> bool:
    return type(layer).__module__ == "ale_py.env"


def _state_names(layer: Any) -> list[str]:
    if _is_emulator(layer) or isinstance(layer, MinAtarEnv):
        return [name for name in ("_np_random", "_np_random_seed") if name in vars(layer)]
    return [
        name
        for name, value in vars(layer).items()
        if name not in _FIXED_NAMES and not isinstance(value, _FIXED_TYPES)
    ]


def _save(layer: Any) -> dict[str, Any]:
    state = {}
    for name in _state_names(layer):
        try:
            state[name] = _encode(vars(layer)[name])
        except TypeError as error:
            raise TaskError(
                f"environment {layer} cannot be saved exactly, because {error} in its attribute "
                f"{name!r}; keep numbers, strings, arrays and lists of them there"
            ) from error
    if _is_emulator(layer):
        state["emulator"] = atari.save_emulator(layer)
    if isinstance(layer, MinAtarEnv):
        state["minatar"] = _encode(layer.save())
    return state


def _load(layer: Any, state: dict[str, Any]) -> None:
    if _is_emulator(layer):
        atari.load_emulator(layer, state.pop("emulator", np.empty(0, dtype=np.uint8)))
    if isinstance(layer, MinAtarEnv):
        layer.load(state.pop("minatar"))
    for name in _state_names(layer):
        if name not in state:
            delattr(layer, name)
    for name, value in state.items():
        here = vars(layer).get(name)
        if isinstance(here, np.random.Generator) and isinstance(value, np.random.Generator):
            # In place: another object may hold the same generator.
            here.bit_generator.state = value.bit_generator.state
        else:
            setattr(layer, name, value)


def _encode(value: Any) -> Any:
    """Return plain data: a container becomes ``{its type: {"0": item, ...}}``."""
    if isinstance(value, np.ndarray) and value.dtype.kind in "biuf":
        return value.copy()
    if isinstance(value, np.generic) and value.dtype.kind in "biuf":
        return {"scalar": np.array(value)}
    if type(value) in _PLAIN:
        return value
    if isinstance(value, np.random.Generator):
        return {"generator": randomness.get_state(value)}
    if type(value) is deque:
        return {"deque": _encode_items(enumerate(value)), "maxlen": value.maxlen}
    if type(value) in (list, tuple):
        return {type(value).__name__: _encode_items(enumerate(value))}
    if type(value) is dict and all(type(name) is str for name in value):
        return {"dict": _encode_items(value.items())}
    raise TypeError(f"there is a {type(value).__name__}")


def _encode_items(items: Any) -> dict[str, Any]:
    return {str(name): _encode(item) for name, item in items}


def _decode(data: Any) -> Any:
    if isinstance(data, np.ndarray):
        return data.copy()
    if not isinstance(data, Mapping):
        return data
    kind = next(iter(data))
    if kind == "scalar":
        return data[kind][()]
    if kind == "generator":
        return _generator(data[kind])
    items = _decode_items(data[kind])
    if kind == "dict":
        return items
    ordered = [items[str(i)] for i in range(len(items))]
    if kind == "deque":
        return deque(ordered, maxlen=data["maxlen"])
    return {"list": list, "tuple": tuple}[kind](ordered)


def _decode_items(items: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _decode(item) for name, item in items.items()}


def _generator(state: Mapping[str, Any]) -> np.random.Generator:
    name = state["bit_generator"]
    if name not in _GENERATORS:
        raise ValueError(f"unknown bit generator {name!r}")
    stream = np.random.Generator(getattr(np.random, name)(0))
    randomness.set_state(stream, dict(state))
    return stream
