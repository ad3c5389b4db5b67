"""The audit of recipes: what differs is found, nothing else is, and from the right update on."""

from __future__ import annotations

from typing import Any

import pytest

from triptych.engines.setup import load_recipe
from triptych.parity.audit import Row, audit, rows
from triptych.parity.audit.natives import Facts, close, embedded
from triptych.parity.audit.recipes import of_recipe, of_rule
from triptych.parity.sides import parse
from triptych.spec.rules import SGD, Clip
from triptych.spec.schedules import Constant, Piecewise


def changed(recipe: str, *changes: str) -> list[Row]:
    """The rows of a recipe against itself with changes."""
    pair = [load_recipe(recipe), load_recipe(recipe, changes)]
    left, right = (Facts(of_recipe(r), schedule=r.optimizer.rate.value) for r in pair)
    return rows.compare(left, right)


def different(found: list[Row]) -> dict[str, Row]:
    return {row.factor: row for row in found if not row.equal}


CHANGES: list[tuple[str, tuple[str, ...], str, int | None, str]] = [
    ("fruit", ("optimizer.epsilon=1e-5",), "optimizer.epsilon", 1, "epsilon"),
    ("fruit", ("optimizer.epsilon_inside_root=false",), "optimizer.epsilon_inside_root", 1,
     "epsilon-place"),
    ("fruit", ("optimizer.decay=0.99",), "optimizer.decay", 1, "rmsprop-decay"),
    ("fruit", ("optimizer.l2=0.01",), "optimizer.l2", 1, "l2"),
    ("fruit", ("optimizer.rate=2e-3",), "optimizer.rate", 1, "learning-rate"),
    ("fruit", ("optimizer.rate={schedule: piecewise, values: [1e-3, 1e-4], boundaries: [2000]}",),
     "optimizer.rate", 2001, "rate-schedule"),
    ("space-invaders", ("optimizer.beta1=0.8",), "optimizer.beta1", 2, "adam-betas"),
    ("space-invaders", ("optimizer.clip.global_norm=10",), "optimizer.clip.global_norm", None,
     "clip-limit"),
    ("fruit", ("objective.reduction=sum",), "loss.reduction", 0, "loss-reduction"),
    ("space-invaders", ("objective.delta=2",), "loss.delta", 0, "huber-delta"),
    ("fruit", ("algorithm.discount=0.9",), "algorithm.discount", 0, "discount"),
    ("fruit", ("algorithm.double=true",), "algorithm.double", 0, "double-q"),
    ("space-invaders", ("algorithm.target_sync=2000",), "algorithm.target_sync", 2,
     "target-update"),
    ("space-invaders", ("task.sticky_actions=0.25",), "task.sticky_actions", 0, "sticky-actions"),
    ("space-invaders", ("task.reward_clipping=true",), "task.reward_clipping", 0,
     "reward-clipping"),
    ("space-invaders", ("task.life_loss=true",), "task.life_loss", 0, "life-loss"),
    ("space-invaders", ("task.max_frames=18000",), "task.max_frames", 0, "frame-cap"),
    ("space-invaders", ("task.fire_on_reset=true",), "task.fire_on_reset", 0, "fire-on-reset"),
    ("space-invaders", ("task.noop_max=0",), "task.noop_max", 0, "noops"),
    ("minatar-space-invaders", ("task.sticky_actions=0",), "task.sticky_actions", 0,
     "sticky-actions"),
    ("fruit", ("algorithm.n_step=3",), "algorithm.n_step", 0, "n-step"),
    ("fruit", ("algorithm.dueling=true",), "algorithm.dueling", 0, "dueling"),
    ("fruit", ("algorithm.prioritised={}",), "algorithm.prioritised", 0, "prioritised-replay"),
    ("fruit", ("algorithm.games=2",), "algorithm.games", 0, "parallel-games"),
    ("fruit", ("algorithm.replay_storage=disk",), "algorithm.replay_storage", None,
     "replay-storage"),
    ("fruit", ("initial.bias={uniform: 0.05}",), None, 0, "bias-initialiser"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("recipe", "changes", "key", "update", "page"), CHANGES, ids=lambda value: str(value)[:40]
)
def test_a_change_is_found_and_nothing_else(
    recipe: str, changes: tuple[str, ...], key: str | None, update: int | None, page: str
) -> None:
    found = different(changed(recipe, *changes))
    if key is None:  # an initialiser is a factor of every array it draws
        assert len(found) == 4 and all(name.endswith("bias.initial") for name in found)
    else:
        assert list(found) == [key]
    row = next(iter(found.values()))
    assert (row.from_update, row.page) == (update, page)
    assert row.matters and row.fix.startswith("on the right ")


def test_priorities_constants_are_rows_where_both_have_priorities() -> None:
    pair = [
        load_recipe("fruit", [f"algorithm.prioritised={{alpha: 0.5, beta: {beta}}}"])
        for beta in (0.4, 1.0)
    ]
    found = different(rows.compare(*(Facts(of_recipe(recipe)) for recipe in pair)))
    assert {key: row.page for key, row in found.items()} == {
        "algorithm.prioritised.beta": "prioritised-replay"
    }


def test_a_dueling_head_hides_no_other_difference() -> None:
    network = "15x15x1 -> conv 16 3x3 relu -> conv 17 3x3 relu -> flatten -> dense 100 -> dense 3"
    found = different(changed("fruit", "algorithm.dueling=true", f"network={network}"))
    assert list(found) == ["conv2.filters", "dense1.activation", "algorithm.dueling"]


def test_an_option_that_a_recipe_leaves_out_is_its_default() -> None:
    short = load_recipe("fruit", ["task={environment: triptych/Fruit-v0}", "network='15x15x1 -> "
                                  "flatten -> dense 3'"])  # fmt: skip
    assert of_recipe(short)["task.grid"] == 15


def test_target_networks_part_at_the_earlier_copy() -> None:
    early = ("algorithm.learning_starts=1000", "algorithm.random_steps=1000")
    pair = [
        load_recipe("space-invaders", [*early, f"algorithm.target_sync={sync}"])
        for sync in (5000, 9000)
    ]
    left, right = (Facts(of_recipe(recipe)) for recipe in pair)
    (row,) = different(rows.compare(left, right)).values()
    # The copy after step 5,000 follows update (5,000 - 1,000) / 4 + 1; the next one sees it.
    assert row.from_update == 1002


def test_equal_recipes_are_equal() -> None:
    found = changed("space-invaders")
    assert len(found) > 60 and different(found) == {}


def test_another_rule_is_one_row_and_its_constants_are_none() -> None:
    found = different(changed("fruit", "optimizer={name: sgd, rate: 1e-3, momentum: 0.9}"))
    assert list(found) == ["optimizer.rule", "optimizer.momentum"]  # both rules have momentum


def test_a_layer_more_is_one_row() -> None:
    network = "15x15x1 -> [conv 16 3x3 relu]*3 -> flatten -> dense 100 relu -> dense 3"
    assert [*different(changed("fruit", f"network={network}"))] == ["flatten1.inputs", "conv3.kind"]


def test_a_rate_in_the_buffer_matters_when_the_rate_changes() -> None:
    def side(rate: Any, inside: bool) -> Facts:
        rule = SGD(rate, momentum=0.9)
        return Facts(of_rule(rule) | {"optimizer.rate_in_buffer": inside}, schedule=rule.rate.value)

    constant = rows.compare(side(Constant(0.1), False), side(Constant(0.1), True))
    (row,) = different(constant).values()
    assert row.from_update is None and "while the rate is constant" in row.matters
    steps = Piecewise((2000,), (0.1, 0.01))
    (row,) = different(rows.compare(side(steps, False), side(steps, True))).values()
    assert row.from_update == 2001 and "2,001" in row.matters


def test_a_clip_matters_at_once_where_the_gradient_is_longer() -> None:
    rule = SGD(Constant(0.1), clip=Clip(global_norm=1.0))
    left = Facts(of_rule(rule), norm=3.0)
    right = Facts(of_rule(SGD(Constant(0.1))), norm=3.0)
    (row,) = different(rows.compare(left, right)).values()
    assert (row.factor, row.from_update) == ("optimizer.clip.global_norm", 1)


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        (1e-7, 1.0004e-7, True), (1e-7, 1.01e-7, False), (0.0, 0.0, True), (0, 1e-9, False),
        (True, 1, False), ("relu", "relu", True), (None, 0.0, False), ((1, 1), (1, 1), True),
        ((1, 1), (1, 2), False), ([1, 2], (1, 2), True),
    ],
)  # fmt: skip
def test_values_are_compared_as_far_as_probing_tells(left: Any, right: Any, same: bool) -> None:
    assert close(left, right) is same


def test_the_audit_of_two_recipes_as_json() -> None:
    data = audit(parse("fruit"), parse("space-invaders")).as_dict()
    assert data["left"] == "fruit" and data["equal"] is False
    keys = {"factor", "left", "right", "equal", "matters", "from_update", "fix", "page"}
    assert all(set(row) == keys for row in data["factors"])


class _Little:
    """A native whose optimizer subtracts the gradient."""

    def __init__(self, **sizes: int) -> None:
        import numpy as np

        from triptych.backends.native import NativeNode

        self.sizes, self.np = sizes, np
        shapes = {name: (size,) for name, size in sizes.items()}
        self.nodes = (NativeNode("dense1", "dense", "x", {}, shapes, tuple(sizes)),)

    def params(self) -> dict[str, Any]:
        return {f"dense1/{name}": self.np.ones(size) for name, size in self.sizes.items()}

    def play(self, gradients: Any, start: Any, first: int) -> list[Any]:
        found, at = [], dict(start)
        for gradient in gradients:
            at = {name: at[name] - gradient[name] for name in at}
            found.append(at)
        return found


@pytest.mark.parametrize("sizes", [{"a": 9, "b": 5, "c": 7}, {"a": 40}, {"a": 12, "b": 4}])
def test_a_probe_is_laid_into_the_model_and_read_back(sizes: dict[str, int]) -> None:
    import numpy as np

    gradient = {"x": np.arange(6.0).reshape(2, 3), "y": np.arange(4.0), "z": np.ones(5)}
    start = {name: np.full(array.shape, 10.0) for name, array in gradient.items()}
    (after,) = embedded(_Little(**sizes))([gradient], start, 0)  # type: ignore[arg-type]
    assert all(np.array_equal(after[name], start[name] - gradient[name]) for name in gradient)


def test_a_model_too_small_to_probe_says_so() -> None:
    import numpy as np

    from triptych.errors import TriptychError

    with pytest.raises(TriptychError, match="too few to probe"):
        embedded(_Little(a=3))([{"x": np.ones(4)}], {"x": np.ones(4)}, 0)  # type: ignore[arg-type]
