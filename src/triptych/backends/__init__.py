"""HOW: the only place where a framework is imported, one private folder per backend.

``protocol.py`` is the whole interface, ``registry.py`` finds a backend, ``base.py`` holds what all
learners share. The folders have the same file names, so that a diff between two is a lesson:

=================  ==========================================================================
``layers.py``      each layer of the spec as a native module or function
``layouts.py``     where each canonical array lives natively, and the order of its axes
``model.py``       the native model of a network
``rules.py``       update rules and clipping as native optimizers
``namespace.py``   the array functions that objectives are written in
``factors.py``     reading every constant back from the live native objects
``learner.py``     network + objective + update rule, alive
``source.py``      the native definition of a network as text
=================  ==========================================================================

No backend imports another; none knows agents or environments.
"""
