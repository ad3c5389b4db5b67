"""What the system says of its processor; no measurement."""

from __future__ import annotations

from pathlib import Path


def processor() -> dict[str, str]:
    """Return the fields of the last processor that Linux lists, such as ``model name``."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {field.strip(): value.strip() for field, value in pairs}
