"""Datasets: what a network is fitted to, examples to learn from and others to judge by.

A task names one (``{dataset: triptych/bars}``), as it names an environment in ``envs``. Here stands
what there is, its options, and how inputs are scaled. Drawing batches belongs to ``learn``, agents
and environments elsewhere; nothing here is downloaded.
"""

from __future__ import annotations

from triptych.data.dataset import Dataset
from triptych.data.maps import InputMap
from triptych.data.registry import complete, make, options, problems

__all__ = ["Dataset", "InputMap", "complete", "make", "options", "problems"]
