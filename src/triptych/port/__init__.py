"""Moving trained networks: readers and writers of files, and the proof of every port.

``kinds.py`` finds the reader of what a user names, ``carry.py`` reads, writes and proves, and
``proof.py`` compares. Files of the three frameworks are read and written in each backend's
``porting.py``; formats without a backend are here, ``onnx`` and ``matlab``, each in its folder.
Runs that go on elsewhere are the engines' work; scripts without Triptych are ``eject``'s.
"""
