"""Why two records differ: hypotheses tested in the float64 oracle until one explains the numbers.

Stages, in the order of the rungs: ``stated`` (what both sides say), ``arrays`` (params), ``nodes``
(layers), ``objectives`` and ``losses`` (loss, gradients), ``playing`` and ``rules`` (the update),
``statistics`` (of batch normalisation), ``course`` (what shows only in time). Measuring does not
belong here: records come from ``record.py``, verdicts from ``rungs.py``.
"""

from triptych.parity.diagnosis.cause import UNKNOWN, Cause, Diagnosis
from triptych.parity.diagnosis.diagnose import diagnose

__all__ = ["UNKNOWN", "Cause", "Diagnosis", "diagnose"]
