"""Pictures of deep Q-learning's choices: targets, ends of episodes, exploration, counting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from triptych.report.effects.style import colour, curves, key, label, panels
from triptych.spec.randomness import generator

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from triptych.report.effects.style import Plot


def discounting() -> Figure:
    """What a reward of 1 counts when it comes later."""
    figure, (axes,) = panels()
    later = np.arange(0, 201, 2)
    curves(axes, later, {f"discount {g}": g**later for g in (0.8, 0.95, 0.99, 0.999)})
    label(axes, "steps until the reward", "what it counts")
    return figure


def target_update() -> Figure:
    """The age of the target network when "100" means updates, agent steps or frames.

    An update every 4 steps, a frame skip of 4.
    """
    figure, (axes,) = panels()
    units = {"updates": 400, "agent steps": 100, "frames": 25}
    for number, (unit, period) in enumerate(units.items()):
        copies = np.arange(0, 1001, period)
        times = np.stack([copies, copies], axis=1).ravel()[1:]
        ages = np.stack([np.zeros(len(copies)), np.full(len(copies), period)], axis=1).ravel()[:-1]
        paint = colour("", number)
        axes.plot(times[: len(ages)], ages, color=paint, label=f"every 100 {unit}")
    key(axes, loc="upper right")
    axes.set_ylim(0, 560)
    label(axes, "agent step", "age of the copy [steps]")
    return figure


def target_gradient() -> Figure:
    """Values of two states, of which one wins 1 and one wins 0, reached from one state by chance.

    With the gradient through the target they are pulled towards the state before them and end at
    3/4 and 1/4 (Baird 1995).
    """
    figure, (axes,) = panels()
    lines: dict[str, np.ndarray] = {}
    for name, share in (("stopped", 0.0), ("through the target", 1.0)):
        won, lost = _forked(share).T
        lines |= {f"won, {name}": won[::20], f"lost, {name}": lost[::20]}
    curves(axes, np.arange(0, 1000, 20), lines)
    axes.set_ylim(-0.05, 1.9)
    label(axes, "update", "value")
    return figure


def _forked(share: float) -> np.ndarray:
    """Values (1000, 2) of the two states; ``share`` of the target's gradient is let through."""
    first, won, lost, seen = 0.0, 0.0, 0.0, []
    for _ in range(1000):
        seen.append((won, lost))
        error = first - (won + lost) / 2
        slopes = (won - 1.0 - share * (first - won), lost - share * (first - lost))
        first, won, lost = first - 0.02 * error, won - 0.02 * slopes[0], lost - 0.02 * slopes[1]
    return np.array(seen)


def double_q() -> Figure:
    """How much too large the value of the best action is when all are worth 0, noise of 1."""
    figure, (axes,) = panels()
    actions = np.arange(1, 19)
    noise = generator(0, "double q").standard_normal((2, 20_000, 18))
    single = [noise[0, :, :n].max(axis=1).mean() for n in actions]
    chosen = [noise[0, :, :n].argmax(axis=1) for n in actions]
    double = [noise[1, np.arange(20_000), choice].mean() for choice in chosen]
    curves(axes, actions, {"maximum": single, "double": double})
    label(axes, "number of actions", "excess [deviations of the noise]")
    return figure


def n_step() -> Figure:
    """Values along a corridor of 30 steps with one reward at its end, after five sweeps."""
    figure, (axes,) = panels()
    place = np.arange(30)
    lines = {f"n = {n}": _swept(n) for n in (1, 3, 5)}
    curves(axes, place, lines | {"true": 0.95 ** (29 - place)})
    label(axes, "place in the corridor", "value")
    return figure


def _swept(n: int) -> np.ndarray:
    """Values (30,) after five sweeps, each from the values before it; discount 0.95."""
    values = np.zeros(31)
    for _ in range(5):
        old = values.copy()
        for place in range(30):
            ahead = min(n, 30 - place)
            reward = 0.95 ** (ahead - 1) if place + ahead == 30 else 0.0
            values[place] = reward + (0.95**ahead * old[place + ahead] if place + ahead < 30 else 0)
    return values[:30]


def terminal_values() -> Figure:
    """The value of an episode's last step, whose reward is 1, over repeated updates."""
    figure, (axes,) = panels()
    value, seen = 0.0, []
    for _ in range(61):
        seen.append(value)
        value = 1 + 0.9 * value
    ends = np.concatenate([[0.0], np.ones(60)])
    lines = {"end respected": ends, "mask lost": np.array(seen)}
    curves(axes, np.arange(61), lines)
    label(axes, "update of the target", "value of the last step")
    return figure


def truncation() -> Figure:
    """Values in a task that pays 1 a step and is cut after 200 steps, discount 0.99."""
    figure, (axes,) = panels()
    step = np.arange(0, 200)
    lines = {
        "cut, but not ended": np.full(200, 1 / (1 - 0.99)),
        "taken for an end": (1 - 0.99 ** (200 - step)) / (1 - 0.99),
    }
    curves(axes, step, lines, loc="lower left")
    axes.set_ylim(0, 108)
    label(axes, "step", "value")
    return figure


def reward_clipping() -> Figure:
    """What is learnt from a reward: as it is, its sign, or cut to the interval from -1 to 1."""
    figure, (axes,) = panels()
    reward = np.linspace(-3, 3, 121)
    near = np.where(np.abs(reward) < 0.02, np.nan, np.sign(reward))
    lines = {"as it is": reward, "sign": near, "cut to [-1, 1]": np.clip(reward, -1, 1)}
    curves(axes, reward, lines)
    label(axes, "reward of the game", "reward that is learnt from")
    return figure


def exploration() -> Figure:
    """The probability of a random action under schedules that are all called linear."""
    figure, (axes,) = panels()
    step = np.linspace(0, 1.4e6, 141)
    lines = {
        "1 to 0.1 in 1M steps": 1 - 0.9 * np.minimum(step / 1e6, 1),
        "counted in frames": 1 - 0.9 * np.minimum(step / 2.5e5, 1),
        "from step 200,000 on": 1 - 0.9 * np.clip((step - 2e5) / 1e6, 0, 1),
        "to 0.01": 1 - 0.99 * np.minimum(step / 1e6, 1),
    }
    curves(axes, step / 1e6, lines)
    label(axes, "agent steps [millions]", "probability")
    return figure


def replay_age() -> Figure:
    """The mean age of what is learnt from, as play goes on."""
    figure, (axes,) = panels()
    step = np.linspace(0, 2e6, 201)
    sizes = {"10,000": 1e4, "100,000": 1e5, "1,000,000": 1e6}
    lines = {f"{name} transitions": np.minimum(step, n) / 2 / 1e3 for name, n in sizes.items()}
    curves(axes, step / 1e6, lines)
    label(axes, "agent steps [millions]", "mean age [thousand steps]")
    return figure


def update_counts() -> Figure:
    """Updates made by an agent step, for starts and frequencies that are all usual."""
    figure, (axes,) = panels()
    step = np.linspace(0, 200_000, 201)
    ways = {"from 50,000, every 4": (5e4, 4), "from 1,000, every 4": (1e3, 4)}
    ways |= {"from 1,000, every step": (1e3, 1)}
    lines = {n: np.maximum(step - start, 0) / every / 1e3 for n, (start, every) in ways.items()}
    curves(axes, step / 1e3, lines)
    label(axes, "agent steps [thousands]", "updates [thousands]")
    return figure


def sticky_delay() -> Figure:
    """The probability that a chosen action starts only after some frames, stickiness 0.25."""
    figure, (axes,) = panels()
    late = np.arange(0, 7)
    axes.bar(late, 0.75 * 0.25**late, color=colour("", 1), width=0.6)
    axes.grid(axis="x", visible=False)
    label(axes, "frames late", "probability")
    return figure


def dueling_values() -> Figure:
    """How far six actions' values are from the truth, 1 for all, when one at random is updated.

    Rate 0.1, starting from 0, the mean of 500 runs.
    """
    figure, (axes,) = panels()
    lines = {"one head": _apart(False), "dueling": _apart(True)}
    curves(axes, np.arange(0, 101), lines)
    label(axes, "update", "mean error of all actions")
    return figure


def _apart(dueling: bool) -> np.ndarray:
    """Mean errors (101,) of values that a gradient step on one action's error changes."""
    rows, chosen = np.arange(500), generator(0, "dueling").integers(0, 6, (100, 500))
    state, advantage, seen = np.zeros(500), np.zeros((500, 6)), []
    for action in [*chosen, chosen[0]]:
        values = advantage
        if dueling:
            values = state[:, None] + advantage - advantage.mean(axis=1, keepdims=True)
        seen.append(np.abs(1 - values).mean())
        slope = 0.1 * (1 - values[rows, action])
        if dueling:
            state, advantage = state + slope, advantage - slope[:, None] / 6
        advantage[rows, action] += slope
    return np.array(seen)


def prioritised_draws() -> Figure:
    """How often each of 100 transitions is drawn, and what it then weighs; errors are 1/rank."""
    figure, (left, right) = panels(2)
    rank = np.arange(1, 101)
    priority = {a: rank ** -float(a) for a in (0.0, 0.6, 1.0)}
    chance = {a: p / p.sum() for a, p in priority.items()}
    curves(left, rank, {f"alpha {a}": 100 * p for a, p in chance.items()})
    label(left, "rank of the error", "drawn [% of draws]")
    weights = {b: (100 * chance[0.6]) ** -b for b in (0.0, 0.4, 1.0)}
    curves(right, rank, {f"beta {b}": w / w.max() for b, w in weights.items()})
    label(right, "rank of the error", "weight, alpha 0.6")
    return figure


PLOTS: tuple[Plot, ...] = (
    *(discounting, target_update, target_gradient, double_q, n_step, terminal_values),
    *(truncation, reward_clipping, exploration, replay_age, update_counts, sticky_delay),
    *(dueling_values, prioritised_draws),
)
