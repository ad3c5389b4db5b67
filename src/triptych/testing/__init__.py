"""The public conformance kit: checks that a backend must pass, and backends that must fail them.

``conformance.py`` is the entry: ``checks()`` lists every check with its case, ``judge`` runs one.
Nothing here is imported by the rest of Triptych.
"""
