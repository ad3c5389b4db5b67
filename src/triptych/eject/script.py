"""A script from its sections, the same in each framework: order, names and headings.

What a section says is in ``sections.py``, ``params.py``, ``templates`` and the backend's writers.
"""

from __future__ import annotations

import shlex
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import PurePath

from triptych.backends import registry
from triptych.backends.protocol import DType
from triptych.backends.templating import fill
from triptych.eject import imports, params, sections
from triptych.errors import Unsupported
from triptych.spec.recipe import Budget, Recipe

WIDTH = 100


@dataclass(frozen=True)
class Words:
    """What a framework is called, and what it calls things.

    Attributes:
        framework: for people.
        kind: the type of a model.
        loss_type: the type of a loss.
        start: what stands before the framework's imports.
    """

    framework: str
    kind: str
    loss_type: str
    start: str = ""


WORDS = {
    "torch": Words("PyTorch", "nn.Module", "Tensor"),
    "jax": Words("JAX", "nnx.Module", "Array"),
    "keras": Words(
        "Keras",
        "keras.Model",
        "tf.Tensor",
        'os.environ["KERAS_BACKEND"] = "tensorflow"\n'
        'os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")',
    ),
}
_ALWAYS = "import argparse\nimport os\nfrom pathlib import Path\nfrom operator import attrgetter\n"


def write(
    recipe: Recipe,
    backend: str,
    *,
    seed: int = 0,
    dtype: DType = "float32",
    budget: str | None = None,
    name: str = "",
    command: Sequence[str] = (),
) -> str:
    """Return a recipe as one native script that imports nothing of Triptych.

    With the same seed and type it makes the run that :func:`triptych.start_run` makes.

    Args:
        recipe: what to train.
        backend: ``torch``, ``jax`` or ``keras``.
        seed, dtype: the defaults of the script's options.
        budget: one of the recipe's budgets; the first if None.
        name: of the script's file, for its own explanation; from recipe and backend if empty.
        command: the words that made it, for its first lines; told in short if empty.

    Raises:
        BackendError: the backend is unknown.
        Unsupported: the recipe holds what cannot be written, or would run otherwise than here.
        RecipeError: the recipe has no such budget.
        TaskError: the recipe's environment is unknown.
    """
    chosen = recipe.budget_named(budget)
    check(recipe, backend)
    name = name or f"{recipe.name.replace('-', '_')}_{backend}.py"
    command = command or ("triptych", "eject", recipe.name, "--backend", backend, "--out", name)
    found = _sections(recipe, backend, chosen, seed, dtype)
    gathered, bodies = list(imports.split(_ALWAYS)[0]), []
    for heading, text in found:
        own, body = imports.split(text)
        gathered += own
        bodies.append(_headed(heading, body))
    body = "\n\n\n".join(bodies)
    head = imports.write(gathered, body, WORDS[backend].start)
    return f"{_about(recipe, backend, name, command)}\n\n{head}\n\n{body}\n"


def check(recipe: Recipe, backend: str) -> None:
    """Raise an error for what cannot be ejected; one sentence."""
    registry.check_names([backend])
    if backend not in WORDS:
        raise Unsupported(
            f"backend {backend!r} is the oracle that judges the others and trains nobody's agents; "
            f"eject to {', '.join(WORDS)}"
        )
    own = sections.algorithm_of(recipe)
    more = {
        "n_step": own.n_step > 1,
        "prioritised": own.prioritised is not None,
        "games": own.games > 1,
        "replay_storage": own.replay_storage != "memory",
    }
    if used := [f"algorithm.{name}" for name, is_used in more.items() if is_used]:
        raise Unsupported(
            f"recipe {recipe.name!r} has {' and '.join(used)}, which an ejected script does not "
            "write out; leave that out, or train with Triptych"
        )
    kinds = {node.layer.kind for node in recipe.network.nodes}
    if "dropout" in kinds:
        raise Unsupported(
            f"recipe {recipe.name!r} has dropout, whose masks a native network draws itself: an "
            "ejected script would not make the same run; leave dropout out"
        )
    if recipe.optimizer.clip.norm is not None and kinds & {"elman", "lstm", "gru"}:
        raise Unsupported(
            f"recipe {recipe.name!r} clips the norm of every gate's array, but {backend} holds a "
            "recurrent layer's gates in one; clip by global_norm or value instead"
        )


def _sections(
    recipe: Recipe, backend: str, budget: Budget, seed: int, dtype: str
) -> list[tuple[str, str]]:
    """The sections of a script: heading and text, each text with the imports it needs."""
    words, flags = WORDS[backend], sections.flags(recipe, budget)
    out = f"runs/{recipe.name}-{backend}"
    options = [f"    {line}" for line in sections.arguments(budget, seed, dtype, out)]
    parse = [
        "def parse_args() -> argparse.Namespace:",
        '    """Return the options of the command line."""',
        "    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])",
        *options,
        "    return parser.parse_args()",
    ]
    environment, given = sections.environment(recipe)
    values = {
        "framework": words.framework,
        "kind": words.kind,
        "loss_type": words.loss_type,
        "epsilon": sections.epsilon(recipe),
        "value": sections.value(recipe),
        "loss": sections.loss(recipe.objective, backend),
        **given,
        **sections.loop(budget, "life_loss" in flags),
    }

    def template(path: str) -> str:
        return fill(_read(path), values, flags)

    values["train"] = template("train_lives" if "life_loss" in flags else "train")
    loading = _read(f"{backend}/loading")
    homes = registry.homes(backend)
    drawn = params.write(recipe.network, recipe.initial, homes, values, loading)
    return [
        ("Settings", "\n".join([*sections.settings(recipe), "", "", *parse])),
        ("Randomness", template("randomness")),
        ("Environment", template(environment)),
        ("Network", registry.get(backend).source(recipe.network, "q-network")),
        ("First params", drawn),
        ("Replay memory", template("stacked_replay" if "stacked" in flags else "replay")),
        ("Update rule", registry.rule_writer(backend)(recipe.optimizer)),
        ("Learner", template(f"{backend}/learner")),
        ("Agent", template("agent")),
        ("Training", template("training")),
    ]


def _read(path: str) -> str:
    return (files("triptych.eject") / "templates" / f"{path}.txt").read_text(encoding="utf-8")


def _headed(heading: str, body: str) -> str:
    """A section under its rule; two empty lines before a definition, as ruff has it."""
    rule = f"# --- {heading} ".ljust(WIDTH, "-")
    empty = "\n\n\n" if body.startswith(("def ", "class ", "@")) else "\n\n"
    return f"{rule}{empty}{body}"


def _about(recipe: Recipe, backend: str, name: str, command: Sequence[str]) -> str:
    """The script's docstring: what it does, how it is run, what made it."""
    others = " and ".join(WORDS[key].framework for key in WORDS if key != backend)
    title = recipe.about.strip().rstrip(".") or f"Train {recipe.name}"
    text = (
        f"Deep Q-learning in {WORDS[backend].framework}, in one file that needs no other: "
        "environment, network, replay memory, agent, training loop. Its twins in "
        f"{others} have the same sections and names, so that a diff shows how the frameworks "
        "differ, and with --dtype float64 the same seed gives the same actions in all three."
    )
    stem = PurePath(name).stem
    lines = [
        *textwrap.wrap(f'"""{title}.', WIDTH),
        "",
        *textwrap.wrap(text, WIDTH),
        "",
        f"    python {PurePath(name).name} --seed 1 --out runs/{stem}",
        "",
        "leaves metrics.csv and the trained network in that folder. Made by:",
        "",
        *_broken(command),
        '"""',
    ]
    return "\n".join(lines)


def _broken(command: Sequence[str]) -> list[str]:
    """A command line in as many lines as it needs."""
    text = shlex.join(command).replace("\\", "\\\\").replace('"""', '\\"\\"\\"')
    return textwrap.wrap(
        text,
        WIDTH,
        initial_indent="    ",
        subsequent_indent="        ",
        break_long_words=False,
        break_on_hyphens=False,
    )
