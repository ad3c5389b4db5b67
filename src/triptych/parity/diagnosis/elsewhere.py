"""Diagnoses of red pairs in processes of their own: the whole ladder's, and where they are printed.

The parent process imports no framework; a diagnosis needs both sides alive.
"""

from __future__ import annotations

from collections.abc import Sequence

from triptych.engines.processes import Job, Tell, run_all
from triptych.parity.diagnosis.cause import Diagnosis
from triptych.parity.diagnosis.diagnose import diagnose
from triptych.parity.record import Record
from triptych.parity.rungs import Verdict
from triptych.parity.subject import Subject

Pair = tuple[Record, Record]


def of_pairs(
    subject: Subject, pairs: Sequence[Pair], verdicts: Sequence[Verdict], show: bool
) -> list[Diagnosis]:
    """Return a diagnosis for each pair of backends with a red rung, from its float64 records.

    float32 records are looked at where float64 is green or was not asked for: what shows there
    alone is a matter of digits.

    Args:
        subject: what was compared.
        pairs: records of two backends in one type, float64 before float32.
        verdicts: of all pairs.
        show: whether to draw progress bars.

    None where the rule searches: no hypothesis here is about such a rule, nor about an objective
    that reads params.
    """
    if subject.searches:
        return []
    red = {(v.pair, v.dtype) for v in verdicts if not v.passed and v.rung <= 6}
    chosen: dict[str, Pair] = {}
    for left, right in sorted(pairs, key=lambda pair: pair[0].dtype, reverse=True):
        name = f"{left.name}-{right.name}"
        if (name, left.dtype) in red:
            chosen.setdefault(name, (left, right))
    jobs = [
        Job(f"{name} diagnosis", job, (subject, *pair, _of(name, verdicts)))
        for name, pair in chosen.items()
    ]
    return run_all(jobs, show) if jobs else []


def _of(pair: str, verdicts: Sequence[Verdict]) -> list[Verdict]:
    return [verdict for verdict in verdicts if verdict.pair == pair]


def job(
    subject: Subject, left: Record, right: Record, verdicts: Sequence[Verdict], tell: Tell
) -> Diagnosis:
    """Diagnose one pair of backends in another process."""
    found = diagnose(subject, left, right, verdicts)
    tell(1, 1, "pair")
    return found
