"""What bounds the reading of ``.mat`` files from anywhere, and the error for what breaks them."""

from __future__ import annotations

MOST = 4_000_000_000
"""Bytes of a file, and of what comes out of it."""
DEEPEST = 32
"""Structs and cells within each other."""
ENTRIES = 2_000_000
"""Structs, cells and arrays in one file."""


class BrokenError(Exception):
    """A sentence about what is wrong in a file; ``files.py`` says in which."""


class Budget:
    """Counts what was read, so that a small file can't become endless data."""

    def __init__(self) -> None:
        self.bytes = 0
        self.entries = 0

    def take(self, size: int, depth: int) -> None:
        """Count one array of ``size`` bytes; raises BrokenError beyond the limits."""
        self.bytes += size
        self.entries += 1
        if self.bytes > MOST:
            raise BrokenError(f"it holds more than the {MOST:,} bytes that are read")
        if self.entries > ENTRIES:
            raise BrokenError(f"it holds more than {ENTRIES:,} arrays")
        if depth > DEEPEST:
            raise BrokenError(f"structs and cells lie more than {DEEPEST} deep in each other")
