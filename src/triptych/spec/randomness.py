"""Named NumPy generators: the only source of randomness in Triptych.

Every stream of random numbers has a name (``init``, ``environment``, ``explore``, ``replay``,
``dropout``, ...) and is spawned from the run's seed and that name alone, so that adding a stream
never shifts another. No framework's generator is used anywhere. Distributions for initial params
are in :mod:`triptych.spec.initial`.
"""

from __future__ import annotations

import zlib
from typing import Any

import numpy as np


def generator(seed: int, name: str) -> np.random.Generator:
    """Return the generator of one named stream of a seed (PCG64, NEP 19)."""
    return np.random.Generator(np.random.PCG64(sequence(seed, name)))


def sequence(seed: int, name: str) -> np.random.SeedSequence:
    """Return the seed sequence of a named stream: the seed and the name's CRC-32."""
    return np.random.SeedSequence([seed, zlib.crc32(name.encode())])


def integer_seed(seed: int, name: str) -> int:
    """Return a 31-bit integer seed of a named stream, for environments that want an integer."""
    return int(sequence(seed, name).generate_state(1)[0] >> 1)


def get_state(stream: np.random.Generator) -> dict[str, Any]:
    """Return a generator's state as plain JSON data (integers as decimal strings)."""
    return _encode(dict(stream.bit_generator.state))


def set_state(stream: np.random.Generator, state: dict[str, Any]) -> None:
    """Put a state from :func:`get_state` back into a generator."""
    stream.bit_generator.state = _decode(state)


def _encode(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _encode(item) for key, item in value.items()}
    return f"int:{value}" if isinstance(value, int) else value


def _decode(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _decode(item) for key, item in value.items()}
    if isinstance(value, str) and value.startswith("int:"):
        return int(value[4:])
    return value
