"""From the best fit to the plainest one: idle constants and digits of noise are dropped.

The searches themselves are in :mod:`fitting`; which fit is believed is decided in :mod:`rules`.
"""

from __future__ import annotations

from collections.abc import Sequence

from triptych.parity.probing.fitting import LINEAR, SHARES, Fit, refine, with_constants
from triptych.parity.probing.tapes import Tape

FLOOR = {"float64": 1e-9, "float32": 3e-5}
"""A root mean square error that is rounding, by the optimizer's dtype."""


def simplest(fit: Fit, tapes: Sequence[Tape], dtype: str) -> Fit:
    """Return the fit with every constant at zero that the tapes do not need.

    The rest is found anew each time; constants without a neutral zero (a clip's limit) stay.
    """
    for name in reversed(fit.model.free):
        if name == "clip":
            continue
        known = {key: fit.constants[key] for key in fit.pinned} | {name: 0.0}
        trial = refine(fit, tapes, known)
        if trial.error <= max(1.5 * fit.error, FLOOR[dtype]):
            fit = trial
    return fit


def tidy(fit: Fit, tapes: Sequence[Tape], dtype: str) -> Fit:
    """Return the fit with each constant at the fewest digits that explain the tapes as well.

    Rounding 0.8999999998 to 0.9 says what was meant; the error may not grow beyond rounding's.
    """
    limit = max(1.2 * fit.error, FLOOR[dtype])
    for name, value in fit.constants.items():
        for digits in range(1, 8):
            rounded = _rounded(name, value, digits)
            if abs(rounded - value) > 2e-3 * abs(value):
                continue
            trial = with_constants(fit, fit.constants | {name: rounded}, tapes)
            if trial.error <= limit:
                fit = trial
                break
    return fit


def shortest(value: float, within: float) -> float:
    """Return the number of the fewest significant digits that is this near, relatively."""
    for digits in range(12):
        rounded = float(f"{value:.{digits}e}")
        if abs(rounded - value) <= within * abs(value):
            return rounded
    return value


def _rounded(name: str, value: float, digits: int) -> float:
    """Return a value at so many significant digits; of 1 - value for shares near 1."""
    if name in SHARES and name not in LINEAR and value > 0.5:
        return float(f"{1 - float(f'{1 - value:.{digits - 1}e}'):.12g}")
    return float(f"{value:.{digits - 1}e}")
