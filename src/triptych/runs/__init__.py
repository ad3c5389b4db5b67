"""KEEP: one training of one recipe on one backend with one seed, as a folder of plain files.

``files`` writes atomically, ``folder`` is the run folder, ``metrics`` and ``tensorboard`` keep the
curves, ``checkpoints`` keeps what an exact resume needs, ``trees`` and ``arrays`` turn nested state
into named arrays and JSON and back, ``listing`` finds runs. Nothing here knows a machine-learning
framework, an agent or an environment: it stores what it is given.
"""
