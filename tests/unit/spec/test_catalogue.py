"""The catalogue of factors: every page whole, every audit key on one page, its code real."""

from __future__ import annotations

import ast
from itertools import combinations
from types import SimpleNamespace
from typing import Any

import pytest

from triptych.backends import registry
from triptych.engines.setup import load_recipe
from triptych.errors import TriptychError
from triptych.parity.audit.recipes import of_recipe
from triptych.spec import catalogue
from triptych.spec.catalogue import FRAMEWORKS, GROUPS, Factor, factor, factors, of_key
from triptych.spec.initial import Initial
from triptych.spec.notation import parse
from triptych.spec.objective import parse_objective
from triptych.spec.rules import RULES, constant, parse_rule
from triptych.spec.shelf import _load, shipped

WORDS = """
dense-kernel-layout conv-kernel-layout transposed-conv-kernel flatten-order input-axes
layer-kind layer-size layer-wiring conv-stride conv-dilation conv-groups conv-padding
same-padding-side pool-window pool-stride average-pool-edges bias activation
leaky-relu-slope elu-alpha gelu-form hard-sigmoid-slope softplus-threshold
batch-norm-epsilon batch-norm-momentum batch-norm-variance batch-norm-mode layer-norm-epsilon
dropout-rate dropout-scaling
gate-order recurrent-biases forget-bias reset-place recurrent-activation gate-activation
recurrent-mask recurrent-state
initialiser bias-initialiser initial-scale
dtype constant-through-float32 determinism
update-rule learning-rate rate-schedule epsilon epsilon-place bias-correction adam-betas
rmsprop-decay centered-variance accumulator-start momentum nesterov dampening rate-in-buffer l2
weight-decay clip-kind clip-limit
loss-kind loss-reduction loss-half huber-delta loss-clipping from-logits
input-scaling input-offset batch-size batch-order preprocessing training-length
discount target-update target-gradient double-q n-step terminal-handling truncation
reward-clipping exploration replay-size learning-starts train-frequency sticky-actions life-loss
frame-skip frame-cap
"""

PAGES = factors()


def named(page: Factor) -> str:
    return page.name


def test_every_word_of_the_vocabulary_has_a_page() -> None:
    assert set(WORDS.split()) <= {page.name for page in PAGES}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_page_is_whole(page: Factor) -> None:
    assert page.group in GROUPS
    for words in (page.title, page.what, page.effect, page.matters, *page.source):
        assert words.strip() == words and words
    assert len(page.what.split()) >= 15, "a newcomer needs a few sentences"
    assert page.what.endswith(".") and page.effect.endswith(".") and page.matters.endswith(".")
    assert page.keys and page.source and page.fix
    assert set(page.formulas) <= set(FRAMEWORKS) and set(page.fix) <= set(FRAMEWORKS)
    for formula in page.formulas.values():
        assert formula.math or formula.code
        assert "\n" not in formula.math + formula.code
        ast.parse(formula.code)
    assert page.absent is None or factor(page.absent).name == page.absent


def test_a_pattern_stands_on_one_page_and_none_are_equally_specific() -> None:
    for one, other in combinations(PAGES, 2):
        assert not set(one.keys) & set(other.keys), (one.name, other.name)
    for key in real_keys():
        assert unambiguous(key, PAGES), key


def unambiguous(key: str, pages: tuple[Factor, ...]) -> bool:
    """Whether the most specific patterns that match a key are all on one page."""
    matches = [
        (catalogue._weight(pattern), page.name)
        for page in pages
        for pattern in page.keys
        if catalogue.fnmatchcase(key, pattern)
    ]
    best = max(weight for weight, _ in matches)
    return len({name for weight, name in matches if weight == best}) == 1


def test_an_ambiguity_would_be_found() -> None:
    first, second = (SimpleNamespace(name=n, keys=(k,)) for n, k in (("a", "x.*"), ("b", "*.y")))
    assert not unambiguous("x.y", (first, second))  # type: ignore[arg-type]
    third = SimpleNamespace(name="c", keys=("x.y",))
    assert unambiguous("x.y", (first, second, third))  # type: ignore[arg-type]


def real_keys() -> list[str]:
    """Every key that layers, rules, objectives and shipped recipes can give an audit."""
    network = parse(
        "12x12x3 -> rescale 1/255 -> conv 4 3x3/2 pad same -> batch_norm -> leaky_relu "
        "-> max_pool 2x2 -> conv_transpose 4 3x3 -> average_pool 2x2 -> flatten -> dense 8 "
        "-> layer_norm -> elu -> hard_sigmoid -> gelu -> dropout 0.5 -> dense 3"
    )
    keys = ["dtype", "batch.size", "batch.dtype", "batch.low", "batch.high", "embedding1.features"]
    for node in network.nodes[1:]:
        own = node.layer.factors(*network.input_shapes(node))
        keys += [f"{node.name}.{name}" for name in ("kind", "inputs", "activation", *own)]
    keys += [f"{name}.initial" for name in network.parameters]
    for rule in RULES.values():
        keys += [f"optimizer.{name}" for name in rule(constant(1.0)).factors()]
    keys += [f"optimizer.clip.{limit}" for limit in ("global_norm", "norm", "value")]
    keys += [f"optimizer.rate at update {count}" for count in (0, 1, 10, 100, 1000)]
    keys += [f"optimizer.{k}" for k in ("rate_in_buffer", "dampening", "weight_decay", "clip")]
    keys += [f"loss.{k}" for k in ("kind", "factor", "reduction", "delta", "from_logits", "clip")]
    keys += [f"{layer}.{k}" for layer in ("lstm1", "gru1", "elman1") for k in RECURRENT]
    keys += ["lstm1/input_kernel_forget.initial", "lstm1/input_bias_forget.initial"]
    keys += [f"initial.{kind}" for kind in Initial().factors()]
    recurrent = parse("8x4 -> lstm 4 sequences -> gru 4 biases 1 -> dense 3")
    moved = parse("4x3x2 -> pad 1 -> permute 1,0,2 -> reshape 30x2 -> dense 3")
    keys.append("dense2.shares")
    for node in moved.nodes[1:]:
        keys += [f"{node.name}.{k}" for k in node.layer.factors(*moved.input_shapes(node))]
    for node in recurrent.nodes[1:]:
        keys += [f"{node.name}.{k}" for k in node.layer.factors(*recurrent.input_shapes(node))]
    keys += [f"{name}.initial" for name in recurrent.parameters]
    for name in shipped():
        keys += [*flat(load_recipe(name).data), *of_recipe(load_recipe(name))]
    keys += ["backend", "seed", "version.torch"]
    return [key for key in keys if key not in ("about", "network")]


RECURRENT = ("units", "activation", "gate_activation", "biases", "sequences", "reverse")
RECURRENT += ("mask_value", "kind", "inputs")


def flat(data: Any, where: str = "") -> Any:
    for name, value in data.items():
        place = f"{where}.{name}" if where else name
        if isinstance(value, dict):
            yield from flat(value, place)
        elif place not in ("objective.name",):
            yield place


def test_every_real_key_has_a_page() -> None:
    assert [key for key in real_keys() if of_key(key) is None] == []


@pytest.mark.parametrize(
    ("key", "values", "name"),
    [
        ("optimizer.epsilon", (1e-8, 1e-7), "epsilon"),
        ("optimizer.epsilon_before_correction", (False, True), "epsilon-place"),
        ("conv2.padding", (), "conv-padding"),
        ("max_pool1.size", (), "pool-window"),
        ("pad1.amounts", (), "conv-padding"),
        ("reshape1.size", (), "reshape-order"),
        ("permute1.axes", (), "reshape-order"),
        ("dense2.shares", (), "layer-wiring"),
        ("embedding1.size", (), "layer-size"),
        ("max_pool1.stride", (), "pool-stride"),
        ("conv1.stride", (), "conv-stride"),
        ("max_pool1.kind", (), "layer-kind"),
        ("optimizer.initial", (), "accumulator-start"),
        ("conv1/kernel.initial", (), "initialiser"),
        ("conv1/bias.initial", (), "bias-initialiser"),
        ("lstm1/input_bias_forget.initial", (), "forget-bias"),
        ("lstm1/input_kernel_forget.initial", (), "initialiser"),
        ("gru1.activation", (), "recurrent-activation"),
        ("dense1.activation", ("relu", "tanh"), "activation"),
        (
            "dense1.activation",
            ("leaky_relu slope 0.2", "leaky_relu slope 0.01"),
            "leaky-relu-slope",
        ),
        ("dense1.activation", ("gelu approximate", "gelu"), "gelu-form"),
        ("dense1.activation", ("relu", "relu"), "activation"),
        ("optimizer.clip.norm", (1.0, 10.0), "clip-limit"),
        ("optimizer.clip.norm", (None, 10.0), "clip-kind"),
        ("optimizer.rate at update 0", (), "learning-rate"),
        ("optimizer.rate at update 10", (), "rate-schedule"),
        ("outcome.episodes", (), "evaluation"),
        ("budgets.long.steps", (), "training-length"),
        ("batch.dtype", (), "dtype"),
    ],
)
def test_a_key_finds_its_page(key: str, values: tuple[Any, ...], name: str) -> None:
    found = of_key(key, *values)
    assert found is not None and found.name == name


def test_a_page_is_found_by_slug_and_by_key() -> None:
    assert factor("epsilon-place") is factor("optimizer.epsilon_inside_root")
    assert factor("Epsilon_Place").name == "epsilon-place"
    assert of_key("nonsense") is None
    with pytest.raises(TriptychError, match=r"'epsilom' \(did you mean 'epsilon'\?\); expected a"):
        factor("epsilom")
    with pytest.raises(TriptychError, match=r"did you mean 'optimizer.beta1'"):
        factor("optimizr.beta1")


RECIPE_PARTS = {"optimizer": parse_rule, "objective": parse_objective}


@pytest.mark.parametrize("page", [p for p in PAGES if "triptych" in p.fix], ids=named)
def test_what_a_recipe_is_told_to_say_can_be_said(page: Factor) -> None:
    text = page.fix["triptych"]
    part, colon, _ = text.partition(":")
    if not colon:
        shape = "8 " if text.startswith("dense") else "12x12x3 "
        parse(f"{shape.strip()} -> {text}")
        return
    data, mistakes = _load(text)[part], []
    if part in RECIPE_PARTS:
        assert RECIPE_PARTS[part](data, part, mistakes), mistakes
    else:
        changed = [f"{part}.{name}={value}" for name, value in settings(data)]
        load_recipe("space-invaders", changed)


def settings(data: dict[str, Any]) -> list[tuple[str, Any]]:
    return [
        (name, "{" + ", ".join(f"{k}: {v}" for k, v in value.items()) + "}")
        if isinstance(value, dict)
        else (name, str(value).lower() if isinstance(value, bool) else value)
        for name, value in data.items()
    ]


FRAMEWORK_SIDES = ("torch", "keras", "jax")


@pytest.mark.parametrize("side", FRAMEWORK_SIDES)
def test_the_code_on_the_pages_runs(side: str) -> None:
    """Names, arguments and shapes are real: a page that a new version has overtaken fails here."""
    registry.get(side)
    failed = []
    for page in PAGES:
        lines = [page.formulas[side].code] if side in page.formulas else []
        lines += [page.fix[side]] if side in page.fix and page.advises_code(side) else []
        for line in lines:
            if "set_floatx" in line or "jax_enable_x64" in line or "default_dtype" in line:
                continue  # it would change what other tests of this process compute in
            if "determinis" in line or "fit(" in line or "set_random_seed" in line:
                continue
            try:
                exec(line, world(side, page.name))
            except Exception as error:
                failed.append(f"{page.name}: {line}: {error!r}")
    assert failed == []


def world(side: str, name: str) -> dict[str, Any]:
    """The names that the pages' code uses, fresh, for a framework."""
    from catalogue_worlds import WORLDS

    return WORLDS[side](name)
