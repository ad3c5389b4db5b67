"""What all tests share: one thread per process, so that two test processes use two cores well."""

from __future__ import annotations

from triptych.engines.processes import limit_threads

limit_threads(1)
