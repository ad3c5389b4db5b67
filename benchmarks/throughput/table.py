"""From what was measured to the rows of the table; no clock, no process."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from processor import processor

from throughput import settings
from throughput.conductor import Measured, Values
from triptych.spec.network import Network

PEER = "Stable-Baselines3"
BACKENDS = ("torch", "jax", "keras")
SHARED = "triptych"
"""The system whose emulator and memory the others use that have none of their own."""
KERNELS = "PyTorch's kernels alone"
VECTORS = {"amx_tile": "AVX-512 and AMX", "avx512f": "AVX-512", "avx2": "AVX2"}
"""What a processor says of its vectors, the widest first."""
SETTINGS = {
    "network and numbers": "S4: batch 32, an update every 4 steps, one game, replay 100,000, Adam "
    "2.5e-4, gradient norm clip 1, Huber, target sync 10,000, uint8 observations",
    "exploration": settings.EPSILON,
    "random steps before": settings.RANDOM_STEPS,
    "ratio": f"the row's value over that of {PEER}, round by round; the median over the rounds",
}
Row = dict[str, Any]


def rows(measured: Measured) -> list[Row]:
    """Return all rows: training, what the abstraction costs, components, bounds, GFLOP/s."""
    values = measured.values
    return [
        *_measured_rows(values, "steps/s", "training", "steps/s", 1.0),
        *_between(values),
        *_components(values),
        *_bounds(values),
        *_at_most(values),
        *_rates(values, settings.recipe().network),
    ]


def _measured_rows(values: Values, key: str, what: str, unit: str, factor: float) -> list[Row]:
    found = {system: numbers for (name, system), numbers in values.items() if name == key}
    return [
        _row(what, system, [factor * number for number in numbers], unit, found.get(PEER), factor)
        for system, numbers in found.items()
    ]


def _row(
    what: str,
    system: str,
    numbers: Sequence[float],
    unit: str,
    peer: Sequence[float] | None = None,
    factor: float = 1.0,
) -> Row:
    """Return a row; ``peer`` are the peer's numbers of the same rounds, before the factor."""
    row = {"what": what, "system": system, "median": median(numbers), "unit": unit}
    ratio = None if peer is None else ratio_of(numbers, [factor * number for number in peer])
    return row | {"ratio": ratio, "lowest": min(numbers), "highest": max(numbers)}


def ratio_of(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of the ratios round by round: what slows a whole round cancels."""
    return median(a / b for a, b in zip(ours, theirs, strict=True))


def _between(values: Values) -> list[Row]:
    """What the abstraction costs, and how far apart the backends are."""
    found = []
    for backend in BACKENDS:
        if pairs := values.get(("of by hand", f"{backend}, both loops")):
            found.append(_row("training, of by hand", f"triptych {backend}", pairs, "x"))
    speeds = [values.get(("steps/s", f"triptych {backend}")) for backend in BACKENDS]
    if all(speeds):
        spread = [min(of_round) / max(of_round) for of_round in zip(*speeds, strict=True)]
        found.append(_row("slowest backend, of fastest", "triptych", spread, "x"))
    return found


def _components(values: Values) -> list[Row]:
    names = dict.fromkeys(w for w, _ in values if w not in ("steps/s", "of by hand"))
    return [row for name in names for row in _measured_rows(values, name, name, "ms", 1e3)]


def _bounds(values: Values) -> list[Row]:
    """The steps/s that the components would allow one after the other, and what a step costs
    beyond them: the loop itself, or less than nothing where work overlaps."""
    systems = [system for what, system in values if what == "steps/s"]
    limits = {system: bound(values, system) for system in systems}
    found = {system: numbers for system, numbers in limits.items() if numbers}
    bounds = [
        _row("bound of the components", system, numbers, "steps/s", found.get(PEER))
        for system, numbers in found.items()
    ]
    beyond = {
        system: [1e3 / a - 1e3 / b for a, b in zip(values["steps/s", system], limit, strict=True)]
        for system, limit in found.items()
    }
    return bounds + [
        _row("a step beyond its components", system, numbers, "ms")
        for system, numbers in beyond.items()
    ]


def bound(values: Values, system: str) -> list[float]:
    """Return, by round, how many steps/s the components allow; nothing where some are missing.

    A step is one emulation, a selection with probability 1 - epsilon, one append, and its share of
    sampling and update (each ``update_every`` steps) and of copying the target network.
    """
    shares = _how_often()
    costs = {part: values.get((part, system)) or values.get((part, SHARED)) for part in shares}
    found = {part: cost for part, cost in costs.items() if cost}
    return _steps_per_second(found) if len(found) == len(shares) else []


def _how_often() -> dict[str, float]:
    """How often a step pays for each part."""
    own = settings.algorithm()
    assert own.target_sync is not None
    return {
        "emulation": 1.0,
        "selection": 1.0 - settings.EPSILON,
        "append": 1.0,
        "sampling": 1.0 / own.update_every,
        "update": 1.0 / own.update_every,
        "target sync": 1.0 / own.target_sync,
    }


def _steps_per_second(costs: Mapping[str, Sequence[float]]) -> list[float]:
    """Return, by round, the steps/s of a loop that pays for these parts alone."""
    shares = [_how_often()[part] for part in costs]
    return [
        1.0 / sum(share * cost for share, cost in zip(shares, of_round, strict=True))
        for of_round in zip(*costs.values(), strict=True)
    ]


def _at_most(values: Values) -> list[Row]:
    """The steps/s of a loop that costs nothing but emulation, the fastest selection and the kernels
    of its updates; the ratio is over the peer's training."""
    kernels, emulation = values.get(("kernels", KERNELS)), values.get(("emulation", SHARED))
    selections = [values.get(("selection", f"triptych {backend}")) for backend in BACKENDS]
    if not kernels or not emulation or not all(selections):
        return []
    fastest = [min(of_round) for of_round in zip(*selections, strict=True)]
    limits = _steps_per_second({"emulation": emulation, "selection": fastest, "update": kernels})
    return [_row("training at most", KERNELS, limits, "steps/s", values.get(("steps/s", PEER)))]


def _rates(values: Values, network: Network) -> list[Row]:
    """GFLOP/s of updates and of matrix multiplies, and the one as a share of the best other."""
    an_update = update_flops(network, settings.algorithm().batch)
    rates = {
        what: {
            system: [1e-9 * work / seconds for seconds in numbers]
            for (name, system), numbers in values.items()
            if name == what
        }
        for what, work in (
            ("update", an_update),
            ("kernels", an_update),
            ("matrix multiply", 2.0 * 2048**3),
        )
    }
    found = [
        _row(f"rate of {what}", system, numbers, "GFLOP/s", of_what.get(PEER))
        for what, of_what in rates.items()
        for system, numbers in of_what.items()
    ]
    if rates["matrix multiply"]:
        best = max(rates["matrix multiply"].values(), key=median)
        found += [
            _row("update, of the best matrix multiply", system, _shares(numbers, best), "%")
            for system, numbers in rates["update"].items()
        ]
    return found


def _shares(numbers: Sequence[float], best: Sequence[float]) -> list[float]:
    return [100.0 * number / median(best) for number in numbers]


def update_flops(network: Network, batch: int) -> float:
    """Return the floating-point operations of one update of deep Q-learning.

    With F multiply-adds in a forward pass of one example, of which F1 in the first layer that has
    any: the target network's forward pass F, the online network's F, the gradients of the kernels
    F, the gradients of the layers' inputs F - F1, since nobody asks for the pixels' gradient. A
    multiply-add is two operations:

        2 batch (4 F - F1)

    Biases, activations, loss and update rule are left out; they are below 2 % here.
    """
    work = [node.layer.multiply_adds(*network.input_shapes(node)) for node in network.nodes]
    first = next(count for count in work if count)
    return 2.0 * batch * (4 * sum(work) - first)


def drawn(table: Sequence[Mapping[str, Any]]) -> str:
    """Return the rows as text."""
    lines = [f"{'what':<36} {'system':<30} {'median':>10} {'unit':<8} {'ratio':>6}"]
    for row in table:
        ratio = "" if row["ratio"] is None else f"{row['ratio']:.2f}"
        lines.append(
            f"{row['what']:<36} {row['system']:<30} {row['median']:>10.4g} {row['unit']:<8} "
            f"{ratio:>6}"
        )
    return "\n".join(lines)


def machine() -> str:
    """Return the processor, the widest of its vectors that matter to the rates, and its cores."""
    said = processor()
    flags = said.get("flags", "").split()
    wide = next((words for flag, words in VECTORS.items() if flag in flags), "")
    parts = said.get("model name", ""), platform.machine(), wide
    cores = f"{len(os.sched_getaffinity(0))} cores"
    return ", ".join([*(part for part in parts if part), cores])
