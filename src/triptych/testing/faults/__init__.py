"""Faults put into one side on purpose, and the scorecard of the ladder and the diagnosis on them.

``bank.py`` lists all faults; those of one kind are in the files ``in_*.py``, how a side is made
sick in ``fault.py`` and ``wraps.py``, the learning problems in ``problems.py``. ``scorecard.py``
runs them, and random problems without a fault from ``clean.py``::

    python -m triptych.testing.faults --json

Faults of the conformance kit are in ``testing/broken.py``.
"""
