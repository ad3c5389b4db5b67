"""The audit: every factor on which two setups differ, since when it matters, and how to align it.

``recipes.py`` and ``natives.py`` say what a side's factors are, in one set of keys; ``when.py``
from which update a difference acts; ``rows.py`` sets the two sides beside each other. Comparing
what the sides compute is the ladder's business, finding causes in numbers that of ``diagnosis``.
"""

from triptych.parity.audit.rows import Audit, Row, audit

__all__ = ["Audit", "Row", "audit"]
