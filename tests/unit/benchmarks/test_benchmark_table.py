"""The benchmark's arithmetic, from numbers made up here, and what it refuses to measure."""

import sys
import time
from pathlib import Path

import pytest
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))

from throughput import beside, kernels, settings, table
from throughput.conductor import System, Worker, WorkerError
from throughput.worker import Answers

from triptych.spec.notation import parse

PEER = table.PEER


def test_a_ratio_is_taken_round_by_round():
    # Not the ratio of the medians, which is 4 / 3.
    assert table.ratio_of([4.0, 1.0, 9.0], [2.0, 4.0, 3.0]) == 2.0


def test_ratios_of_unequal_rounds_are_refused():
    with pytest.raises(ValueError, match="shorter"):
        table.ratio_of([1.0, 2.0], [1.0])


def test_operations_of_an_update_by_hand():
    network = parse("6x6x2 -> conv 3 3x3 relu -> flatten -> dense 5")
    conv, dense = 4 * 4 * 3 * (3 * 3 * 2), 4 * 4 * 3 * 5
    forward_twice = 2 * (conv + dense)
    kernels, inputs = conv + dense, dense
    expected = 2 * 7 * (forward_twice + kernels + inputs)
    assert table.update_flops(network, 7) == expected


def test_operations_of_an_update_of_s4():
    layers = (3276800, 2654208, 1806336, 1605632, 131072, 1536)
    expected = 64 * (4 * sum(layers) - layers[0])
    assert table.update_flops(settings.recipe().network, 32) == expected


@pytest.mark.parametrize(
    "network", [parse("6x6x2 -> conv 3 3x3 relu -> flatten -> dense 5"), settings.recipe().network]
)
def test_the_kernels_do_the_operations_of_an_update(network):
    made, counter = list(kernels.calls(network, 7)), FlopCounterMode(display=False)
    with counter:
        for call in made:
            call()
    assert counter.get_total_flops() == table.update_flops(network, 7)


def test_work_without_kernels_is_refused():
    with pytest.raises(NotImplementedError, match="no kernels are known for 'lstm'"):
        list(kernels.calls(parse("5x4 -> lstm 3 -> dense 2"), 7))


class Sleeper:
    """A system that does nothing but count."""

    def __init__(self, parameters: int, steps_per_update: int) -> None:
        self.parameters, self.every, self.updates = parameters, steps_per_update, 0

    def prepare(self):
        pass

    def components(self):
        return {}

    def run(self, steps):
        self.updates += steps // self.every


def test_another_network_is_not_measured():
    assert "numpy" in Answers(Sleeper(1_816_998, 4)).prepare()["versions"]
    with pytest.raises(RuntimeError, match="learns 1687206 numbers, but S4's learns 1816998"):
        Answers(Sleeper(1_687_206, 4)).prepare()


def test_too_few_updates_are_not_measured():
    assert Answers(Sleeper(1_816_998, 4)).run(100)["steps/s"] > 0
    with pytest.raises(RuntimeError, match="12 updates in 100 steps, where 25 are due"):
        Answers(Sleeper(1_816_998, 8)).run(100)


class Loop:
    """A loop that takes its time."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds

    def run(self, steps):
        time.sleep(steps * self.seconds)


def test_two_loops_in_turns_tell_which_is_slower():
    both = object.__new__(beside.Beside)
    both.ours, both.theirs = Loop(2e-3), Loop(1e-3)
    assert both.compare(4 * beside.STEPS) == pytest.approx(0.5, abs=0.1)


def components(system: str, scale: float = 1.0) -> table.Values:
    seconds = {"emulation": 1e-3, "selection": 2e-3, "append": 1e-4, "sampling": 4e-4}
    seconds |= {"update": 8e-3, "target sync": 1.0}
    return {(what, system): [scale * value] for what, value in seconds.items()}


def test_the_bound_adds_what_a_step_pays_for():
    step = 1e-3 + 0.9 * 2e-3 + 1e-4 + (4e-4 + 8e-3) / 4 + 1.0 / 10_000
    assert table.bound(components("a"), "a") == [pytest.approx(1 / step)]


def test_the_bound_borrows_the_shared_emulator_but_no_update():
    values = components("a")
    values["emulation", table.SHARED] = values.pop(("emulation", "a"))
    assert table.bound(values, "a") == table.bound(components("a"), "a")
    del values["update", "a"]
    assert table.bound(values, "a") == []


def test_no_loop_over_the_kernels_beats_what_they_allow():
    values: table.Values = {("kernels", table.KERNELS): [6e-3], ("steps/s", PEER): [100.0]}
    for system, scale in (("triptych torch", 3), ("triptych jax", 1), ("triptych keras", 2)):
        values |= components(system, scale)
    values["emulation", table.SHARED] = [1e-3]
    (row,) = (row for row in table.rows(measured(values)) if row["what"] == "training at most")
    limit = 1 / (1e-3 + 0.9 * 2e-3 + 6e-3 / 4)
    assert (row["system"], row["median"]) == (table.KERNELS, pytest.approx(limit))
    assert row["ratio"] == pytest.approx(limit / 100.0)
    del values["selection", "triptych jax"]
    assert not [row for row in table.rows(measured(values)) if row["what"] == "training at most"]


def test_rows_of_everything():
    values: table.Values = {}
    for scale, system in enumerate((PEER, "triptych torch", "by hand torch"), start=1):
        values |= {key: 2 * value for key, value in components(system, scale).items()}
        values["steps/s", system] = [100.0 / scale, 120.0 / scale]
    values["matrix multiply", "by hand torch"] = [0.1, 0.1]
    values["of by hand", "torch, both loops"] = [0.9, 1.1]
    found = {(row["what"], row["system"]): row for row in table.rows(measured(values))}
    assert found["training", PEER] | {"median": 110.0, "ratio": 1.0} == found["training", PEER]
    ours = found["training", "triptych torch"]
    assert (ours["median"], ours["unit"], ours["ratio"]) == (55.0, "steps/s", 0.5)
    assert found["update", "triptych torch"]["median"] == pytest.approx(16.0)
    assert found["update", "triptych torch"]["ratio"] == pytest.approx(2.0)
    by_hand = found["training, of by hand", "triptych torch"]
    assert by_hand["median"] == pytest.approx(1.0) and by_hand["ratio"] is None
    assert ("of by hand", "torch, both loops") not in found
    rate = found["rate of matrix multiply", "by hand torch"]
    assert rate["median"] == pytest.approx(2 * 2.048**3 / 0.1)
    share = found["update, of the best matrix multiply", PEER]["median"]
    update = table.update_flops(settings.recipe().network, 32) * 1e-9 / 8e-3
    assert share == pytest.approx(100 * update / rate["median"])
    beyond = found["a step beyond its components", PEER]["median"]
    bound = found["bound of the components", PEER]["median"]
    assert beyond == pytest.approx((1e3 / 100 + 1e3 / 120) / 2 - 1e3 / bound)
    assert "training, of by hand" in table.drawn(list(found.values()))


def measured(values: table.Values):
    return table.Measured(values, {})


def test_a_system_that_dies_is_named():
    with (
        Worker(System("lost", "nowhere:Nothing")) as worker,
        pytest.raises(WorkerError, match=r"lost ended while asked to prepare[\s\S]*nowhere"),
    ):
        worker.ask("prepare")
