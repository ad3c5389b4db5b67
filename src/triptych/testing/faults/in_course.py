"""Faults that show only while training goes on: copies, batches, masks, types, missing updates."""

from __future__ import annotations

from triptych.testing.faults.fault import Fault
from triptych.testing.faults.wraps import Copying, Reordering, Repeating, Rounding, Skipping

FAULTS = (
    Fault(
        "target copied every 20 updates", "target-update", 5, "target", "jax", "torch",
        touch=lambda learner, subject: Copying(learner, 20),
    ),
    Fault(
        "target copied every 7 updates", "target-update", 5, "adam", "torch", "keras",
        touch=lambda learner, subject: Copying(learner, 7),
    ),
    Fault(
        "batches in another order", "batch-order", 5, "target", "keras", "torch",
        touch=lambda learner, subject: Reordering(learner, subject.batches),
    ),
    Fault(
        "batches in another order under Adam", "batch-order", 5, "plain adam", "torch", "jax",
        touch=lambda learner, subject: Reordering(learner, subject.batches),
    ),
    Fault(
        "float32 from update 55 on", "dtype", 6, "target", "torch", "jax",
        touch=lambda learner, subject: Rounding(learner, 55),
    ),
    Fault(
        "float32 after every update", "dtype", 5, "adagrad", "keras", "jax",
        touch=lambda learner, subject: Rounding(learner, 1),
    ),
    Fault(
        "every fifth update left out", "train-frequency", 5, "target", "jax", "torch",
        touch=lambda learner, subject: Skipping(learner, 5),
    ),
    Fault(
        "the same dropout masks again", "determinism", 5, "sgd", "torch", "jax",
        touch=lambda learner, subject: Repeating(learner),
    ),
)  # fmt: skip
