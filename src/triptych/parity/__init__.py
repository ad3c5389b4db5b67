"""PROVE: the ladder, its yardsticks, and the certificate.

=================  ==========================================================================
``subject.py``     what is compared: network, params, objective, rule, real batches
``record.py``      everything one backend does with a subject, as plain arrays
``measures.py``    how far two records are apart
``rungs.py``       rungs 0 to 6: two records in, verdicts out, the culprit named
``free_run.py``    rung 7: each backend acts and learns alone
``ladder.py``      all rungs for all pairs of a recipe
``certificate.py`` the result as JSON
=================  ==========================================================================

Training, drawing and files other than the certificate do not belong here.
"""
