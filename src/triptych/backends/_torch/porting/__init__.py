"""PyTorch's own files and objects, read and written: ``PORTER``.

``graph.py`` walks a live model, ``optimizers.py`` tells update rules and slots by meaning,
``files.py`` reads and writes safely, ``porter.py`` puts them together. What trains is beside this
folder.
"""

from triptych.backends._torch.porting.porter import PORTER

__all__ = ["PORTER"]
