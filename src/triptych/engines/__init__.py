"""SCALE: putting recipe, backend, environment and run folder together, here or in processes.

``setup.py`` builds the parts of a training, ``local.py`` trains into a run folder,
``comparison.py`` trains several runs side by side, ``processes.py`` runs functions in processes of
their own, ``interrupts.py`` notices Ctrl-C, ``evaluating.py`` plays what a run has learned, apart
from training, and ``replay.py`` takes the pictures. What an agent does is in ``learn``, what is
written is in ``runs``.
"""
