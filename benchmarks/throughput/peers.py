"""Stable-Baselines3 and SBX, used as their documentation says, with S4's network and numbers.

Both are given the environment as it is, wrap it as they always do (``Monitor``, ``DummyVecEnv``,
``VecTransposeImage``) and keep their own replay buffer.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from throughput import settings


def common_arguments() -> dict[str, Any]:
    """Return the arguments that the two DQN classes share."""
    own = settings.algorithm()
    return {
        "env": settings.make_env(),
        "learning_rate": settings.RATE,
        "buffer_size": own.replay,
        "learning_starts": settings.RANDOM_STEPS,
        "batch_size": own.batch,
        "gamma": own.discount,
        "train_freq": own.update_every,
        "gradient_steps": 1,
        "target_update_interval": own.target_sync,
        "exploration_initial_eps": settings.EPSILON,
        "exploration_final_eps": settings.EPSILON,
        "seed": 0,
    }


class Peer:
    """What measuring the two has in common; a subclass makes ``model`` and counts its numbers."""

    model: Any

    @property
    def updates(self) -> int:
        return self.model._n_updates

    def prepare(self) -> None:
        # They advise gigabytes of free memory for a full buffer, which is filled no further here.
        warnings.filterwarnings("ignore", message="This system does not have apparently enough")
        self.run(settings.WARM_UP)

    def run(self, steps: int) -> None:
        self.model.learn(steps, reset_num_timesteps=False)
        self.select()

    def select(self) -> Any:
        """Return the best action for the newest observation, computed to the end."""
        return self.model.predict(self.model._last_obs, deterministic=True)

    def components(self) -> dict[str, Callable[[], object]]:
        model, batch = self.model, settings.algorithm().batch
        buffer, action = model.replay_buffer, np.zeros(1, np.int64)
        observation, reward, over = model._last_obs, np.zeros(1, np.float32), np.zeros(1, bool)
        fixed = FixedSample(buffer.sample(batch))

        def update() -> None:
            model.replay_buffer = fixed
            model.train(gradient_steps=1, batch_size=batch)
            model.replay_buffer = buffer

        return {
            "emulation": lambda: model.env.step(action),
            "selection": self.select,
            "append": lambda: buffer.add(observation, observation, action, reward, over, [{}]),
            "sampling": lambda: buffer.sample(batch),
            "update": update,
            "target sync": self.sync_target,
        }

    def sync_target(self) -> None:
        raise NotImplementedError


class FixedSample:
    """A replay buffer that always gives the same batch, so that an update is timed alone."""

    def __init__(self, batch: Any) -> None:
        self.batch = batch

    def sample(self, *_: Any, **__: Any) -> Any:
        return self.batch


class StableBaselines3(Peer):
    """``stable_baselines3.DQN``; its own ``CnnPolicy`` is S4's network with one layer more."""

    def __init__(self, optimizer: str = "default") -> None:
        from stable_baselines3 import DQN

        policy: dict[str, Any] = {"net_arch": [256]}
        if optimizer == "fused":
            policy["optimizer_kwargs"] = {"fused": True}
        self.model = DQN(
            "CnnPolicy", policy_kwargs=policy, max_grad_norm=settings.MAX_NORM, **common_arguments()
        )
        self.parameters = sum(p.numel() for p in self.model.q_net.parameters())

    def sync_target(self) -> None:
        from stable_baselines3.common.utils import polyak_update

        nets = self.model.q_net, self.model.q_net_target
        polyak_update(nets[0].parameters(), nets[1].parameters(), 1.0)


class SBX(Peer):
    """``sbx.DQN``: its policy has no second dense layer and its DQN no clipping, so both are given
    to it where it takes them, as a policy class and an optimizer.

    Its updates run inside ``lax.scan``, where XLA's convolutions and their gradients were measured
    to take ten times the CPU time; its row on a CPU says nothing of other devices.
    """

    def __init__(self) -> None:
        import jax
        import optax
        from sbx import DQN

        def clipped_adam(learning_rate: float, **more: Any) -> Any:
            clip = optax.clip_by_global_norm(settings.MAX_NORM)
            return optax.chain(clip, optax.adam(learning_rate, **more))

        self.model = DQN(
            sbx_policy(), policy_kwargs={"optimizer_class": clipped_adam}, **common_arguments()
        )
        leaves = jax.tree.leaves(self.model.policy.qf_state.params)
        self.parameters = sum(leaf.size for leaf in leaves)

    def sync_target(self) -> None:
        import jax

        policy = self.model.policy
        policy.qf_state = jax.block_until_ready(self.model.soft_update(1.0, policy.qf_state))


def sbx_policy() -> type:
    """Return SBX's policy with S4's network: its own NatureCNN, then dense 256 and the outputs."""
    import flax.linen as nn
    import jax
    import jax.numpy as jnp
    from sbx.common.jax_layers import NatureCNN
    from sbx.common.type_aliases import RLTrainState
    from sbx.dqn.policies import DQNPolicy

    class Network(nn.Module):
        actions: int

        @nn.compact
        def __call__(self, x: Any) -> Any:
            x = nn.relu(nn.Dense(256)(NatureCNN(512)(x)))
            return nn.Dense(self.actions)(x)

    class Policy(DQNPolicy):
        def build(self, key: Any, lr_schedule: Any) -> Any:
            key, own = jax.random.split(key)
            self.qf = Network(int(self.action_space.n))
            params = self.qf.init(own, jnp.array([self.observation_space.sample()]))
            rule = self.optimizer_class(learning_rate=lr_schedule(1), **self.optimizer_kwargs)
            self.qf_state = RLTrainState.create(
                apply_fn=self.qf.apply, params=params, target_params=params, tx=rule
            )
            return key

    return Policy
