"""SHOW: curves, replays and the page.

``page`` writes one self-contained HTML file from plain data, ``ladder`` and ``sections`` draw its
parts, ``curves`` turns metrics into lines with interval bands, ``markup`` escapes, ``media`` writes
images and videos, ``files`` writes bytes atomically. Nothing here trains, compares or imports a
machine-learning framework; Pillow and PyAV (the extra ``report``) are imported on first use.
"""
