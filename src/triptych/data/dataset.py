"""What every dataset is: arrays to learn from, arrays to judge by, and the map of its inputs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from triptych.data.maps import InputMap

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class Dataset:
    """Examples under the names that objectives read: ``observation`` (n, ...) and ``target``.

    Attributes:
        train: to learn from, in an order of their own.
        validation: to judge by; nothing is fitted to them, the map neither.
        map: what was done to the inputs; undone by ``map.back``.
    """

    train: Arrays
    validation: Arrays
    map: InputMap = field(default_factory=InputMap)

    @property
    def size(self) -> int:
        """How many examples there are to learn from."""
        return len(self.train["observation"])
