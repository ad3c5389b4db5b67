"""Backends whose recurrent layers are mistaken on purpose, as ``broken.py`` has for the others."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from triptych.backends.protocol import Params
from triptych.spec.layers import GRU, LSTM, Layer, Recurrent
from triptych.spec.network import Network
from triptych.testing.broken import Answers, Fault


def _swapped(network: Network, params: Params) -> Params:
    """Exchange an LSTM's input and forget gates, as another framework's order would."""
    other = {"input": "forget", "forget": "input"}

    def source(name: str) -> str:
        node, local = name.rsplit("/", 1)
        what, _, gate = local.rpartition("_")
        lstm = isinstance(network.by_name[node].layer, LSTM)
        return f"{node}/{what}_{other[gate]}" if lstm and gate in other else name

    return {name: params[source(name)] for name in params}


class _GateOrder(Answers):
    def load_params(self, params: Params, network: str = "online") -> None:
        self.inner.load_params(_swapped(self.given, params), network)

    def params(self, network: str = "online") -> Params:
        return _swapped(self.given, self.inner.params(network))


class _ForgetfulSteps(Answers):
    def step(self, observations: np.ndarray, state: Mapping[str, np.ndarray]) -> Any:
        output, after = self.inner.step(observations, state)
        cells = {name: state[name] for name in after if name.endswith("/cell")}
        return output, after | cells


def _reset_elsewhere(layer: Any) -> Layer:
    if not isinstance(layer, GRU) or layer.candidate_bias:
        return layer
    return replace(layer, reset_after=not layer.reset_after)


def _unmasked(layer: Any) -> Layer:
    return replace(layer, mask_value=None) if isinstance(layer, Recurrent) else layer


def _forward_in_time(layer: Any) -> Layer:
    return replace(layer, reverse=False) if isinstance(layer, Recurrent) else layer


def _soft_gates(layer: Any) -> Layer:
    return replace(layer, gate_activation="sigmoid") if isinstance(layer, LSTM | GRU) else layer


RECURRENT_FAULTS = (
    Fault("gate order", "check_forward-two_biases", params=_swapped, answers=_GateOrder),
    Fault("reset elsewhere", "check_forward-two_biases", _reset_elsewhere),
    Fault("time not reversed", "check_forward-one_bias", _forward_in_time),
    Fault("gates soft", "check_forward-bent_gates", _soft_gates),
    Fault("mask ignored", "check_forward-masked", _unmasked),
    Fault("mask not read back", "check_factors-masked", _unmasked),
    Fault("cell not carried", "check_steps-words", answers=_ForgetfulSteps),
    Fault("mask ignored in steps", "check_steps-masked_steps", _unmasked),
)
"""Every fault, with the check that must fail."""
