"""A PyTorch model run in either type: twins of it, its gradients, and single operations.

What runs is PyTorch's own; which operation is which layer is known in ``graph.py``.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.export import ExportedProgram
from torch.overrides import TorchFunctionMode

from triptych.backends._torch.model import Model


def _hard_sigmoid(x: Tensor) -> Tensor:
    return (x + 3.0).clamp(0.0, 6.0) / 6.0


# PyTorch's gradient of this takes 1/6 through float32, also in float64.
_EXACT: dict[str, Callable[[Tensor], Tensor]] = {"hardsigmoid": _hard_sigmoid}


class _Typed(TorchFunctionMode):
    """Lets a model that names its type compute in another type, and leaves dropout out."""

    def __init__(self, dtype: torch.dtype) -> None:
        super().__init__()
        self.dtype = dtype

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = getattr(func, "__name__", "").split(".")[0]
        if "dropout" in name:
            return args[0]
        if name in ("float", "double"):
            return args[0].to(self.dtype)
        if name in _EXACT and self.dtype == torch.float64:
            return _EXACT[name](args[0])
        options = {key: self._cast(value) for key, value in (kwargs or {}).items()}
        return func(*[self._cast(arg) for arg in args], **options)

    def _cast(self, value: Any) -> Any:
        wide = (torch.float32, torch.float64)
        return self.dtype if isinstance(value, torch.dtype) and value in wide else value


@contextmanager
def _typed(dtype: torch.dtype) -> Iterator[None]:
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with _Typed(dtype):
            yield
    finally:
        torch.set_default_dtype(before)


@dataclass(frozen=True)
class Runtime:
    """A model as PyTorch runs it, and its program, operation by operation.

    Attributes:
        model: the user's own, or an exported program's module.
        program: of the same model, for single layers.
        batch: how many examples a call must have; None where any number will do.
        trains: whether the model can be run in training mode.
    """

    model: nn.Module
    program: ExportedProgram | None
    batch: int | None = None
    trains: bool = True

    def twin(self, dtype: torch.dtype) -> nn.Module:
        """Return a copy in a type, in inference mode where that is not fixed."""
        twin = _copied(self.model).to(dtype)
        if isinstance(twin, Model) and twin.input_dtype.is_floating_point:
            twin.input_dtype = dtype
        return twin.eval() if self.trains else twin

    def outputs(self, inputs: Tensor, dtype: torch.dtype) -> Tensor:
        """Return the output in inference mode."""
        twin = self.twin(dtype)
        with torch.no_grad(), _typed(dtype):
            return torch.cat([twin(part)[:count] for part, count in _parts(inputs, self.batch)])

    def gradients(self, inputs: Tensor, weights: Tensor, dtype: torch.dtype) -> dict[str, Tensor]:
        """Return the gradient of the weighted sum of outputs by every array that learns."""
        twin = self.twin(dtype)
        if self.trains:
            twin.train()
            for module in twin.modules():
                if isinstance(module, nn.RNNBase):
                    module.dropout = 0.0
        learns = {n: p for n, p in twin.named_parameters(remove_duplicate=False) if p.requires_grad}
        total = torch.zeros((), dtype=dtype)
        with _typed(dtype):
            done = 0
            for part, count in _parts(inputs, self.batch):
                total = total + (twin(part)[:count] * weights[done : done + count]).sum()
                done += count
            grads = torch.autograd.grad(total, list(learns.values()), allow_unused=True)
        pairs = zip(learns.items(), grads, strict=True)
        return {n: torch.zeros_like(p) if g is None else g for (n, p), g in pairs}

    def operations(self, inputs: Tensor, dtype: torch.dtype, wanted: set[str]) -> dict[str, Tensor]:
        """Return what single operations of the program give, by name."""
        assert self.program is not None
        module = _copied(self.program.module(check_guards=False)).to(dtype)
        found: dict[str, list[Tensor]] = {}
        with torch.no_grad(), _typed(dtype):
            for part, count in _parts(inputs, fixed_batch(self.program)):
                seen = _Recorder(module, wanted)
                seen.run(part)
                for name, value in seen.found.items():
                    found.setdefault(name, []).append(_examples(value, len(part), count))
        return {name: torch.cat(values) for name, values in found.items()}


def _copied(model: nn.Module) -> nn.Module:
    with warnings.catch_warnings():
        # PyTorch's own copying of programs uses what it deprecates.
        warnings.simplefilter("ignore")
        return copy.deepcopy(model)


class _Recorder(torch.fx.Interpreter):
    """Runs a program and keeps copies of what the wanted operations give."""

    def __init__(self, module: Any, wanted: set[str]) -> None:
        super().__init__(module)
        self.wanted, self.found = wanted, dict[str, Tensor]()

    def run_node(self, n: torch.fx.Node) -> Any:
        """Run one operation."""
        value = super().run_node(n)
        if n.name in self.wanted and isinstance(value, Tensor):
            self.found[n.name] = value.clone()
        return value


def _examples(value: Tensor, size: int, count: int) -> Tensor:
    return value[:count] if len(value) == size else value


def _parts(inputs: Tensor, batch: int | None) -> Iterator[tuple[Tensor, int]]:
    """Batches of a size, the last one filled up, and how many examples of each are asked for."""
    if batch is None:
        yield inputs, len(inputs)
        return
    for start in range(0, len(inputs), batch):
        part = inputs[start : start + batch]
        rest = part[-1:].expand(batch - len(part), *part.shape[1:])
        yield torch.cat([part, rest]), len(part)


def fixed_batch(program: ExportedProgram) -> int | None:
    """The batch that a program was exported for, None where it takes any."""
    names = program.graph_signature.user_inputs
    shapes = [n.meta["val"].shape for n in program.graph.nodes if n.name in names]
    size = shapes[0][0] if shapes and len(shapes[0]) else None
    return size if isinstance(size, int) else None
