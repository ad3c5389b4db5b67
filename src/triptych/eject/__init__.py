"""EJECT: a recipe as one native, readable script that needs nothing of Triptych.

``script.py`` puts the sections together; what a section says is a text below ``templates``, or, for
the network and the update rule, what the backend's own writers give. Running scripts, recipes'
checks and files do not belong here.
"""

from __future__ import annotations

from triptych.eject.script import write

__all__ = ["write"]
