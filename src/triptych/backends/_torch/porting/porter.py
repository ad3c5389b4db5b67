"""PyTorch's files and objects as sources of a port, run by PyTorch itself; ``PORTER``.

Graphs are read in ``graph.py``, files in ``files.py``, optimizers in ``optimizers.py``; what is
written, in ``writing.py``.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.export import ExportedProgram

from triptych.backends._torch.porting import files, graph, matching, optimizers, writing
from triptych.backends._torch.porting.graph import BATCH, Drawn
from triptych.backends._torch.porting.twin import Runtime, fixed_batch
from triptych.backends.carried import Given, Source, Trained, Written
from triptych.backends.protocol import DType, Params
from triptych.errors import PortError, TriptychError, in_one_line
from triptych.spec.layers import BatchNorm, Input
from triptych.spec.network import Network

_RUNTIME = f"torch {torch.__version__}"
_TYPES: tuple[DType, ...] = ("float32", "float64")


# --- sources -------------------------------------------------------------------------------------


class TorchSource:
    """See :class:`triptych.backends.carried.Source`; runs the model that was given."""

    kind = "torch"
    runtime = _RUNTIME

    def __init__(self, trained: Trained, drawn: Drawn, runtime: Runtime) -> None:
        self.trained, self.drawn, self.live = trained, drawn, runtime
        self.dtypes = self._types()

    def _types(self) -> tuple[DType, ...]:
        """The types in which the model runs at all."""
        shape = self.trained.network.shapes[self.trained.network.input.name]
        example = np.zeros((2, *shape))
        found: list[DType] = []
        reason = ""
        for dtype in _TYPES:
            try:
                self.outputs(example, dtype)
                found.append(dtype)
            except Exception as error:  # whatever the user's model raises
                reason = in_one_line(error)
        if not found:
            raise PortError(f"the model runs neither in float32 nor in float64: {reason}")
        return tuple(found)

    def _tensor(self, observations: np.ndarray, dtype: DType) -> Tensor:
        layer = self.trained.network.input.layer
        assert isinstance(layer, Input)
        kind = np.int64 if layer.values == "index" else np.dtype(dtype)
        native = self.drawn.input.to_source(observations)
        return torch.from_numpy(np.array(native, kind, order="C"))

    def outputs(self, observations: np.ndarray, dtype: DType) -> np.ndarray:
        """Return the model's own output."""
        output = self.live.outputs(self._tensor(observations, dtype), getattr(torch, dtype))
        return self.drawn.output.to_canonical(output.numpy())

    def layer_outputs(self, observations: np.ndarray, dtype: DType) -> Params:
        """Return what the program's operations give at each node."""
        if self.live.program is None:
            return matching.layer_outputs(self.live.twin(getattr(torch, dtype)), observations)
        seats = self.drawn.seats
        names = {seat.operation for seat in seats.values()}
        native = self._tensor(observations, dtype)
        found = self.live.operations(native, getattr(torch, dtype), names)
        outputs = {}
        for node, seat in seats.items():
            if seat.operation in found and node in self.trained.network.by_name:
                value = found[seat.operation].movedim(seat.seen.batch, 0).numpy()
                outputs[node] = seat.seen.value.to_canonical(value)
        return outputs

    def gradients(
        self, observations: np.ndarray, weights: np.ndarray, dtype: DType
    ) -> Params | None:
        """Return the model's own gradients; None for a program that can't be trained."""
        network = self.trained.network
        if not self.live.trains and network.nodes_of(BatchNorm):
            return None
        native = torch.from_numpy(np.array(self.drawn.output.to_source(weights), dtype, order="C"))
        inputs = self._tensor(observations, dtype)
        grads = self.live.gradients(inputs, native, getattr(torch, dtype))
        origins = self.drawn.origins
        return {
            name: np.array(origins[name].turn(grads[origins[name].key].numpy()), order="C")
            for name in network.trainable
            if origins[name].key in grads and origins[name].key not in self.drawn.padded
        }


def _trained(drawn: Drawn, held: Mapping[str, Tensor], source: str) -> Trained:
    """Return the network with its arrays in the canonical layout."""
    notes, params = list(drawn.notes), {}
    for name in drawn.network.parameters:
        origin = drawn.origins[name]
        if origin.key in drawn.made:
            array = drawn.made[origin.key]
        else:
            array = _numpy(held[origin.key], f"{source}: {origin.key}", notes)
        params[name] = np.array(origin.turn(array), order="C")
        expected = drawn.network.parameters[name].shape
        if params[name].shape != expected:
            raise PortError(
                f"{source}: {origin.key} gives {params[name].shape}, expected {expected}"
            )
    return Trained(drawn.network, params, places=drawn.places, notes=tuple(dict.fromkeys(notes)))


def _numpy(tensor: Tensor, where: str, notes: list[str]) -> np.ndarray:
    tensor = tensor.detach().cpu()
    if tensor.dtype not in (torch.float32, torch.float64):
        if not tensor.is_floating_point():
            raise PortError(f"{where} is {tensor.dtype}, expected real numbers")
        notes.append(f"arrays of {str(tensor.dtype)[6:]} were widened to float32, which is exact")
        tensor = tensor.float()
    if not bool(torch.isfinite(tensor).all()):
        raise PortError(f"{where} holds NaN or infinity; port a network that has not diverged")
    return tensor.numpy()


def _with_optimizer(
    trained: Trained,
    drawn: Drawn,
    state: Mapping[str, Any],
    model: nn.Module,
    given: Given,
    updates: int | None = None,
) -> Trained:
    """Add what an optimizer's state says, or the note why it can't be carried."""
    named = list(model.named_parameters())
    keys = [[name for name, _ in named], [name for name, p in named if p.requires_grad]]
    shapes = {name: item.shape for name, item in trained.network.parameters.items()}
    learnt = optimizers.read(
        state, keys, drawn.origins, shapes, trained.network.trainable, given.rule, updates
    )
    notes = (*trained.notes, *learnt.notes)
    return replace(trained, rule=learnt.rule, slots=learnt.slots, notes=notes)


# --- the porter ----------------------------------------------------------------------------------


class TorchPorter:
    """See :class:`triptych.backends.carried.Porter`."""

    def read(self, path: Path, given: Given) -> Source:
        """Return the source in a file."""
        if path.suffix == ".pt2" or files.is_program(path):
            return self._program(path)
        held = files.read(path)
        said = _said(held, path)
        if given.make is not None:
            return self._made(path, held, given, said)
        network = given.network or said.network
        if network is None:
            raise PortError(
                f"{path} holds arrays alone: say what they belong to with --network, a recipe, a "
                "network.json, or file.py:function that returns the model"
            )
        given = replace(given, rule=given.rule or said.rule)
        return self._matched(path, held, network, given, said.updates)

    def _program(self, path: Path) -> Source:
        program = files.read_program(path)
        drawn = graph.draw(program, path.name)
        arrays = {**program.constants, **program.state_dict}
        tensors = {key: value for key, value in arrays.items() if isinstance(value, Tensor)}
        runtime = Runtime(program.module(check_guards=False), program, fixed_batch(program), False)
        return TorchSource(_trained(drawn, tensors, path.name), drawn, runtime)

    def _made(self, path: Path, held: files.Held, given: Given, said: writing.Said) -> Source:
        """The user's own model, with a file's arrays."""
        assert given.make is not None
        try:
            found = given.make()
        except Exception as error:
            raise PortError(f"{given.where} raises {in_one_line(error)}") from error
        model = found["model"] if isinstance(found, Mapping) and "model" in found else found
        if not isinstance(model, nn.Module):
            raise PortError(
                f"{given.where} returns a {type(model).__name__}, expected a torch.nn.Module"
            )
        matching.load(model, held.arrays, path)
        given = replace(given, rule=given.rule or said.rule)
        return self._read(model, given, held.optimizer, path.name, said.updates)

    def _matched(
        self, path: Path, held: files.Held, network: Network, given: Given, updates: int | None
    ) -> Source:
        """Our own module of a given network, with a file's arrays."""
        model, drawn = matching.match(held, network, path)
        arrays = dict(model.named_parameters()) | dict(model.named_buffers())
        trained = _trained(drawn, arrays, path.name)
        if held.optimizer is not None:
            trained = _with_optimizer(trained, drawn, held.optimizer, model, given, updates)
        return TorchSource(trained, drawn, Runtime(model, None))

    def read_object(self, model: Any, given: Given, optimizer: Any = None) -> Source:
        """Return the source that a live ``nn.Module`` is."""
        where = given.where or type(model).__name__
        if isinstance(model, torch.jit.ScriptModule):
            raise PortError(
                f"{where}: TorchScript can't be read as layers; give the nn.Module itself"
            )
        if not isinstance(model, nn.Module):
            raise PortError(f"{where}: expected a torch.nn.Module, got a {type(model).__name__}")
        if optimizer is None:
            return self._read(model, given, None, where)
        names = {id(param): name for name, param in model.named_parameters()}
        try:
            return self._read(model, given, optimizers.live(optimizer, names), where)
        except optimizers.Left as reason:
            source = self._read(model, given, None, where)
            note = f"the optimizer was left behind: {reason}"
            source.trained = replace(source.trained, notes=(*source.trained.notes, note))
            return source

    def _read(
        self, model: nn.Module, given: Given, state: Any, where: str, updates: int | None = None
    ) -> TorchSource:
        own = _copy(model, where)
        program, drawn = _draw(own, given, where)
        arrays = dict(own.named_buffers(remove_duplicate=False))
        arrays |= dict(own.named_parameters(remove_duplicate=False))
        arrays = {**program.constants, **arrays}
        trained = _trained(drawn, arrays, where)
        if state is not None:
            trained = _with_optimizer(trained, drawn, state, own, given, updates)
        return TorchSource(trained, drawn, Runtime(own, program))

    def write(self, trained: Trained, path: Path, title: str) -> list[Path]:
        """Write the arrays, the module's source, and the optimizer's state."""
        return writing.write(trained, path, title)

    def load(self, trained: Trained, path: Path, title: str) -> Written:
        """Return what was written, loaded by the written source itself."""
        return writing.load(trained, path)


def _said(held: files.Held, path: Path) -> writing.Said:
    return writing.read_said(held.said, path)


def _copy(model: nn.Module, where: str) -> nn.Module:
    try:
        return copy.deepcopy(model).cpu().eval()
    except Exception as error:
        raise PortError(f"{where}: the model can't be copied: {in_one_line(error)}") from error


def _draw(model: nn.Module, given: Given, where: str) -> tuple[ExportedProgram, Drawn]:
    """Trace and read a model; images channels first, or last where only that fits."""
    if given.shape is None:
        raise PortError(
            f"{where}: a PyTorch model does not say what it takes; give one input's shape, "
            "channels last: --input 32x32x3, or '20 index' for rows of indices"
        )
    shapes = [given.shape]
    if len(given.shape) == 3:
        shapes.insert(0, (given.shape[2], given.shape[0], given.shape[1]))
    first: TriptychError | None = None
    for shape in shapes:
        try:
            program = graph.export(model, _example(model, shape, given.index), where)
            return program, graph.draw(program, where)
        except PortError as error:
            first = first or error
    assert first is not None
    raise first


def _example(model: nn.Module, shape: Iterable[int], index: bool) -> Tensor:
    if index:
        return torch.zeros((BATCH, *shape), dtype=torch.int64)
    real = next((p.dtype for p in model.parameters() if p.is_floating_point()), torch.float32)
    return torch.zeros((BATCH, *shape), dtype=real)


PORTER = TorchPorter()
