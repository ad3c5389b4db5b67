"""The rungs of the ladder: their names, and what each compares in one sentence.

``parity`` climbs them and ``report`` draws them; neither is known here.
"""

from __future__ import annotations

RUNGS: tuple[tuple[str, str], ...] = (
    ("factors", "Every factor of the two setups, read back from the live native objects."),
    ("params", "Names, shapes and values, there and back through the other backend, bit for bit."),
    ("outputs", "The output of every layer for the same input."),
    ("loss", "The loss on the same batch."),
    ("gradients", "The gradient of every parameter."),
    ("step", "Params and optimizer slots after the first updates."),
    ("lockstep", "Params after many updates on the same batches."),
    ("free run", "Each acts and learns alone from the same seed: every action, every loss."),
    ("outcome", "The final scores of many seeds, by a test of equivalence."),
)
"""By the rung's number: name and sentence."""
