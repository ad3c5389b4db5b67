"""The constants of rules that move by a sign: read from where the sign turns.

Their moves say nothing about a constant until a sign changes, so that least squares has no slope to
follow; many entries with one gradient each bracket the turn instead. All other rules are fitted
(:mod:`fitting`).
"""

from __future__ import annotations

import numpy as np

from triptych.parity.probing.tapes import Play, Tape

_ENTRIES, _WAIT, _UNIT = 8000, 20, 1e-5


def moves_by_sign(tape: Tape) -> bool:
    """Whether every move within an update is as large as every other, or none."""
    sizes = np.abs(tape.moved)
    largest = sizes.max(axis=1, keepdims=True)
    return bool(np.any(sizes) and np.all((sizes < 1e-3 * largest) | (sizes > 0.999 * largest)))


def turning_shares(play: Play) -> tuple[float, float]:
    """Return (beta1, beta2) of Lion, both 0 where there is no memory.

    After one gradient u and k of zero the memory is (1 - beta2) beta2^k u, and the step
    sign(beta1 memory - (1 - beta1) x) under the gradient -x turns at
    x_k = beta1 / (1 - beta1) (1 - beta2) beta2^k u (Chen 2023, algorithm 2): x_k / x_0 gives
    beta2, x_0 then beta1.
    """
    soon, late = _turn(play, 0), _turn(play, _WAIT)
    if soon is None or late is None:
        return 0.0, 0.0
    beta2 = float((late / soon) ** (1 / _WAIT))
    odds = soon / _UNIT / (1 - beta2)
    return float(odds / (1 + odds)), beta2


def _turn(play: Play, wait: int) -> float | None:
    """Return the gradient at which the step turns after so many zero gradients, or None."""
    against = np.geomspace(1e-12, 1e-2, _ENTRIES)
    gradients = [np.full(_ENTRIES, _UNIT), *[np.zeros(_ENTRIES)] * wait, -against]
    after = play([{"a": g} for g in gradients], {"a": np.zeros(_ENTRIES)}, 0)
    before = after[-2]["a"]
    forward = np.asarray(before, dtype=float) - np.asarray(after[-1]["a"], dtype=float) > 0
    if not forward.any() or forward.all():
        return None
    last = int(np.flatnonzero(forward)[-1])
    return float(np.sqrt(against[last] * against[last + 1]))
