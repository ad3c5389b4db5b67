"""Catch falling fruit from pixels with deep Q-learning, without a target network.

Deep Q-learning in JAX, in one file that needs no other: environment, network, replay memory, agent,
training loop. Its twins in PyTorch and Keras have the same sections and names, so that a diff shows
how the frameworks differ, and with --dtype float64 the same seed gives the same actions in all
three.

    python fruit_jax.py --seed 1 --out runs/fruit_jax

leaves metrics.csv and the trained network in that folder. Made by:

    triptych eject fruit --backend jax --out examples/ejected/fruit_jax.py
"""

import argparse
import csv
import math
import time
import zlib
from collections import deque
from operator import attrgetter
from pathlib import Path

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from gymnasium import spaces
from jax import Array
from safetensors.flax import save_file

# --- Settings -------------------------------------------------------------------------------------

GRID = 15
DISCOUNT = 0.8
BATCH = 128  # transitions an update
REPLAY = 100_000  # transitions kept
LEARNING_STARTS = 128  # steps before the first update
LOG_EVERY = 10  # episodes from row to row of metrics.csv
WINDOW = 100  # episodes that running_reward is the mean of


def parse_args() -> argparse.Namespace:
    """Return the options of the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--dtype", choices=("float32", "float64"), default="float32")
    parser.add_argument("--episodes", type=int, default=500)
    parser.add_argument("--out", type=Path, default=Path("runs/fruit-jax"))
    return parser.parse_args()


# --- Randomness -----------------------------------------------------------------------------------


def seed_sequence(seed: int, name: str) -> np.random.SeedSequence:
    """Return the beginning of a named stream of random numbers, which no other stream shifts."""
    return np.random.SeedSequence([seed, zlib.crc32(name.encode())])


def generator(seed: int, name: str) -> np.random.Generator:
    """Return a named stream. All randomness is NumPy's: frameworks would draw other numbers."""
    return np.random.Generator(np.random.PCG64(seed_sequence(seed, name)))


def integer_seed(seed: int, name: str) -> int:
    """Return a named stream's beginning for those who want an integer."""
    return int(seed_sequence(seed, name).generate_state(1)[0] >> 1)


# --- Environment ----------------------------------------------------------------------------------


class FallingFruit(gymnasium.Env):
    """Catch the fruit: a grid of GRID x GRID cells, uint8 (GRID, GRID, 1), 1 where something is.

    The fruit falls from the top row, one row a move. The basket, three cells wide, stands on the
    bottom row; an action moves it left (0), leaves it (1) or moves it right (2). When the fruit
    reaches the row above the basket the game ends: +1 if it is over the basket, else -1.
    """

    def __init__(self) -> None:
        self.observation_space = spaces.Box(low=0, high=1, shape=(GRID, GRID, 1), dtype=np.uint8)
        self.action_space = spaces.Discrete(3)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple:
        """Start a game: the fruit in any column, the basket's centre off the edges."""
        super().reset(seed=seed)
        self.row, self.fruit = 0, int(self.np_random.integers(0, GRID))
        self.basket = int(self.np_random.integers(1, GRID - 1))
        return self.observe(), {}

    def step(self, action: int) -> tuple:
        """Move the basket, let the fruit fall by one row."""
        self.basket = min(max(self.basket + action - 1, 1), GRID - 2)
        self.row += 1
        terminated = self.row == GRID - 2
        caught = abs(self.fruit - self.basket) <= 1
        reward = (1.0 if caught else -1.0) if terminated else 0.0
        return self.observe(), reward, terminated, False, {}

    def observe(self) -> np.ndarray:
        """Draw the grid."""
        screen = np.zeros((GRID, GRID, 1), dtype=np.uint8)
        screen[self.row, self.fruit] = 1
        screen[-1, self.basket - 1 : self.basket + 2] = 1
        return screen


def make_env() -> gymnasium.Env:
    """Return the environment."""
    return FallingFruit()


# --- Network --------------------------------------------------------------------------------------


class QNetwork(nnx.Module):
    """(batch, 15, 15, 1) -> (batch, 3), channels last; 196,483 parameters."""

    def __init__(self, rngs: nnx.Rngs, dtype: type = jnp.float32) -> None:
        exact = {"dtype": dtype, "param_dtype": dtype, "precision": "highest", "rngs": rngs}
        self.conv1 = nnx.Conv(1, 16, (3, 3), strides=(1, 1), padding="VALID", **exact)
        self.conv2 = nnx.Conv(16, 16, (3, 3), strides=(1, 1), padding="VALID", **exact)
        self.dense1 = nnx.Linear(1936, 100, **exact)
        self.dense2 = nnx.Linear(100, 3, **exact)

    def __call__(self, x: Array) -> Array:
        x = x.astype(self.conv1.param_dtype)  # float64 needs jax_enable_x64
        x = nnx.relu(self.conv1(x))
        x = nnx.relu(self.conv2(x))
        x = x.reshape(x.shape[0], -1)
        x = nnx.relu(self.dense1(x))
        x = self.dense2(x)
        return x


# --- First params ---------------------------------------------------------------------------------


def glorot_uniform(rng: np.random.Generator, shape: tuple, fan_in: int, fan_out: int) -> np.ndarray:
    """Draw uniformly within +-sqrt(6.0 / (fan_in + fan_out)) (Glorot and Bengio 2010)."""
    limit = math.sqrt(6.0 / (fan_in + fan_out))
    return rng.uniform(-limit, limit, shape)


def initial_params(seed: int) -> dict[str, np.ndarray]:
    """Return the first params, channels last, dense (in, out); each has a stream of its own."""

    def rng(name: str) -> np.random.Generator:
        return generator(seed, f"init/{name}")

    return {
        "conv1/kernel": glorot_uniform(rng("conv1/kernel"), (3, 3, 1, 16), fan_in=9, fan_out=144),
        "conv1/bias": np.zeros(16),
        "conv2/kernel": glorot_uniform(
            rng("conv2/kernel"), (3, 3, 16, 16), fan_in=144, fan_out=144
        ),
        "conv2/bias": np.zeros(16),
        "dense1/kernel": glorot_uniform(
            rng("dense1/kernel"), (1936, 100), fan_in=1936, fan_out=100
        ),
        "dense1/bias": np.zeros(100),
        "dense2/kernel": glorot_uniform(rng("dense2/kernel"), (100, 3), fan_in=100, fan_out=3),
        "dense2/bias": np.zeros(3),
    }


def load_params(model: nnx.Module, params: dict[str, np.ndarray]) -> None:
    """Copy params into the model, in JAX's own layouts."""
    native = {
        "conv1.kernel": params["conv1/kernel"],
        "conv1.bias": params["conv1/bias"],
        "conv2.kernel": params["conv2/kernel"],
        "conv2.bias": params["conv2/bias"],
        "dense1.kernel": params["dense1/kernel"],
        "dense1.bias": params["dense1/bias"],
        "dense2.kernel": params["dense2/kernel"],
        "dense2.bias": params["dense2/bias"],
    }
    for name, array in native.items():
        variable = attrgetter(name)(model)
        variable.set_value(jnp.asarray(array, variable.dtype))


# --- Replay memory --------------------------------------------------------------------------------


class ReplayMemory:
    """The last ``capacity`` transitions; a new one takes the place of the oldest."""

    def __init__(self, capacity: int, shape: tuple, dtype: np.dtype) -> None:
        self.count = 0
        self.observation = np.zeros((capacity, *shape), dtype)
        self.action = np.zeros(capacity, np.int64)
        self.reward = np.zeros(capacity, np.float64)
        self.next_observation = np.zeros((capacity, *shape), dtype)
        self.terminated = np.zeros(capacity, bool)

    def append(
        self,
        observation: np.ndarray,
        action: int,
        reward: float,
        next_observation: np.ndarray,
        terminated: bool,
        truncated: bool,
    ) -> None:
        """Remember a step. A truncated episode would have gone on: that it ended is forgotten."""
        place = self.count % len(self.action)
        self.observation[place], self.next_observation[place] = observation, next_observation
        self.action[place], self.reward[place] = action, reward
        self.terminated[place] = terminated
        self.count += 1

    def sample(self, batch: int, rng: np.random.Generator) -> dict[str, np.ndarray]:
        """Return transitions drawn uniformly, with replacement, counted from the oldest."""
        size = min(self.count, len(self.action))
        places = (self.count - size + rng.integers(0, size, size=batch)) % len(self.action)
        return {
            "observation": self.observation[places],
            "action": self.action[places],
            "reward": self.reward[places],
            "next_observation": self.next_observation[places],
            "terminated": self.terminated[places],
        }


# --- Update rule ----------------------------------------------------------------------------------


def make_optimizer(model: nnx.Module) -> nnx.Optimizer:
    """RMSprop, rate 0.001."""
    rule = optax.rmsprop(
        0.001,
        decay=0.9,
        eps=1e-07,
        initial_scale=0.0,
        eps_in_sqrt=True,
        bias_correction=False,
        centered=False,
    )
    return nnx.Optimizer(model, rule, wrt=nnx.Param)


# --- Learner --------------------------------------------------------------------------------------


def td_loss(model: QNetwork, batch: dict[str, Array]) -> Array:
    """Return how far Q(s, a) is from r + DISCOUNT * max Q(s', .), held fixed."""
    later = model(batch["next_observation"])
    next_value = later.max(axis=1)
    goes_on = 1.0 - batch["terminated"].astype(later.dtype)
    wanted = batch["reward"].astype(later.dtype) + DISCOUNT * goes_on * next_value
    wanted = jax.lax.stop_gradient(wanted)
    q = model(batch["observation"])
    chosen = jnp.take_along_axis(q, batch["action"][:, None], axis=1).squeeze(1)
    return jnp.mean(optax.squared_error(chosen, wanted))


@nnx.jit
def forward(model: QNetwork, observations: Array) -> Array:
    """Return the value of each action: (batch, actions)."""
    return model(observations)


@nnx.jit
def train_step(
    model: QNetwork,
    optimizer: nnx.Optimizer,
    batch: dict[str, Array],
) -> Array:
    """Make one update and return the loss before it."""
    loss, grads = nnx.value_and_grad(td_loss)(model, batch)
    optimizer.update(model, grads)
    return loss


class Learner:
    """The network and its optimizer."""

    def __init__(self, dtype: str, seed: int) -> None:
        jax.config.update("jax_enable_x64", dtype == "float64")
        # Shapes alone: the first params are given, so that Flax need not draw any.
        self.model = nnx.eval_shape(lambda: QNetwork(nnx.Rngs(0), getattr(jnp, dtype)))
        load_params(self.model, initial_params(seed))
        self.optimizer = make_optimizer(self.model)

    def q_values(self, observations: np.ndarray) -> np.ndarray:
        """Return the value of each action: (batch, actions)."""
        return np.asarray(forward(self.model, observations))

    def update(self, batch: dict[str, np.ndarray]) -> Array:
        """Make one update and return the loss before it."""
        return train_step(self.model, self.optimizer, batch)

    def save(self, folder: Path) -> None:
        """Leave the trained network in a folder: safetensors.flax.load_file(...)."""
        state = nnx.to_flat_state(nnx.state(self.model, (nnx.Param, nnx.BatchStat)))
        arrays = {".".join(path): variable[...] for path, variable in state}
        save_file(arrays, folder / "params.safetensors")


# --- Agent ----------------------------------------------------------------------------------------


def epsilon(step: int) -> float:
    """Return the probability of a random action at a step, counted from 0."""
    return 0.8


class Agent:
    """Acts epsilon-greedily, and learns from what it remembers (Mnih et al. 2015)."""

    def __init__(self, learner: Learner, memory: ReplayMemory, actions: int, seed: int) -> None:
        self.learner, self.memory, self.actions, self.steps = learner, memory, actions, 0
        self.explore, self.replay = generator(seed, "explore"), generator(seed, "replay")

    def act(self, observation: np.ndarray) -> int:
        """Return a random action with probability epsilon, else the best by the network."""
        if self.explore.random() < epsilon(self.steps):
            return int(self.explore.integers(self.actions))
        return int(np.argmax(self.learner.q_values(observation[None])[0]))

    def learn(
        self,
        observation: np.ndarray,
        action: int,
        reward: float,
        next_observation: np.ndarray,
        terminated: bool,
        truncated: bool,
    ) -> Array | None:
        """Remember a step and update the network where that is due; return the loss."""
        self.memory.append(observation, action, reward, next_observation, terminated, truncated)
        self.steps += 1
        loss = None
        if self.steps >= LEARNING_STARTS:
            loss = self.learner.update(self.memory.sample(BATCH, self.replay))
        return loss


# --- Training -------------------------------------------------------------------------------------

COLUMNS = ("episode", "frame", "running_reward", "max_reward", "epsilon", "loss")


def mean(values: list[float]) -> float:
    """Return the mean, NaN of nothing."""
    return float(np.mean(values)) if values else math.nan


def train(args: argparse.Namespace, log: csv.writer) -> Learner:
    """Play and learn until the budget is spent; write a row of the log every LOG_EVERY episodes."""
    env, learner = make_env(), Learner(args.dtype, args.seed)
    space, began = env.observation_space, time.perf_counter()
    memory = ReplayMemory(REPLAY, space.shape, space.dtype)
    agent = Agent(learner, memory, int(env.action_space.n), args.seed)
    episode, best, recent, losses = 0, -math.inf, deque(maxlen=WINDOW), []
    while episode < args.episodes:
        # The environment is seeded once; later episodes go on in its stream.
        seed = integer_seed(args.seed, "environment") if episode == 0 else None
        observation, _ = env.reset(seed=seed)
        episode_return, ended = 0.0, False
        while not ended:
            action = agent.act(observation)
            next_observation, reward, terminated, truncated, _ = env.step(action)
            ended = bool(terminated or truncated)
            step = (observation, action, float(reward), next_observation, terminated, truncated)
            loss = agent.learn(*step)
            if loss is not None:
                losses.append(loss)
            observation, episode_return = next_observation, episode_return + float(reward)
        episode += 1
        recent.append(episode_return)
        best = max(best, episode_return)
        if episode % LOG_EVERY == 0 or episode == args.episodes:
            chance, mean_loss = epsilon(agent.steps), mean([float(loss) for loss in losses])
            row = [episode, agent.steps, mean(recent), best, chance, mean_loss]
            log.writerow(row)
            told = (f"{name} {value:.5g}" for name, value in zip(COLUMNS, row, strict=True))
            print(*told, sep="  ", flush=True)
            losses = []
    print(f"{agent.steps} steps in {time.perf_counter() - began:.1f} s")
    env.close()
    return learner


def main() -> None:
    """Train, and leave metrics.csv and the trained network in the folder that was asked for."""
    args = parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    with open(args.out / "metrics.csv", "w", buffering=1, newline="", encoding="utf-8") as file:
        log = csv.writer(file, lineterminator="\n")
        log.writerow(COLUMNS)
        learner = train(args, log)
    learner.save(args.out)


if __name__ == "__main__":
    main()
