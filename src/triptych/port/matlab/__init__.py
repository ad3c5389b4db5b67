"""MATLAB: ``.mat`` files as plain structs, networks as ``.m`` functions, and Octave to run them.

``export_network.m`` is for users to run in MATLAB; ``run_network.m`` computes what it writes. Files
are read in ``files.py`` and below, what they mean in ``structs.py`` and ``graph.py``, functions are
written in ``writing.py`` and run in ``octave.py``. No other format belongs here.
"""

from triptych.port.matlab.octave import call, calls
from triptych.port.matlab.porter import PORTER, Compared, compare

__all__ = ["PORTER", "Compared", "call", "calls", "compare"]
