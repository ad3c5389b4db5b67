"""Gymnasium environments: where an agent acts.

``import triptych.envs`` registers ``triptych/Fruit-v0`` with Gymnasium and imports neither ale_py
nor cv2; those are imported when an Atari task is made. This module holds the public names only.
Agents, replay memories and teachers' imitation do not belong here.
"""

from __future__ import annotations

import gymnasium

from triptych.envs.fruit import start_states
from triptych.envs.registry import (
    action_count,
    complete,
    evaluation_task,
    make,
    make_vector,
    observation_shape,
    options,
    problems,
    stack,
)
from triptych.envs.state import restore, snapshot

__all__ = [
    "action_count",
    "complete",
    "evaluation_task",
    "make",
    "make_vector",
    "observation_shape",
    "options",
    "problems",
    "restore",
    "snapshot",
    "stack",
    "start_states",
]

if "triptych/Fruit-v0" not in gymnasium.registry:
    gymnasium.register(
        id="triptych/Fruit-v0",
        entry_point="triptych.envs.fruit:FruitEnv",
        vector_entry_point="triptych.envs.fruit_vector:FruitVectorEnv",
        kwargs={"grid": 15},
        nondeterministic=False,
    )
