"""A framework's offer to the rest: its learners, versions and source texts under one name.

What a learner does is in ``base.py`` and each backend's ``learner.py``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from triptych.backends.base import BaseLearner
from triptych.backends.protocol import DType, Objective, Params
from triptych.spec.network import Network
from triptych.spec.rules import Rule


@dataclass(frozen=True)
class NativeBackend:
    """A backend from its parts; see :class:`triptych.backends.protocol.Backend` for the contract.

    Attributes:
        name: as in the registry.
        make: the class of its learners.
        packages: versions of the packages that compute.
        write: the writer of native definitions.
        dtype: the type where none is asked for.
    """

    name: str
    make: type[BaseLearner]
    packages: Mapping[str, str]
    write: Callable[[Network, str], str]
    dtype: DType = "float32"

    def versions(self) -> dict[str, str]:
        """Return the versions of the packages that compute."""
        return dict(self.packages)

    def learner(
        self,
        network: Network,
        params: Params,
        *,
        objective: Objective | None = None,
        rule: Rule | None = None,
        dtype: DType | None = None,
        seed: int = 0,
        target: bool = False,
    ) -> BaseLearner:
        """Return a learner that starts from ``params``; see the protocol."""
        return self.make(
            network,
            params,
            objective=objective,
            rule=rule,
            dtype=dtype or self.dtype,
            seed=seed,
            target=target,
        )

    def source(self, network: Network, title: str) -> str:
        """Return the network's native definition as Python text."""
        return self.write(network, title)
