"""A user's own PyTorch model, optimizer, scheduler and loss, alive: see ``backends/native.py``.

Which module is which kind, and where its arrays live, is in ``native_layers.py``.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

from triptych.backends._torch import native_layers
from triptych.backends._torch.native_reading import loss_factors, optimizer_factors
from triptych.backends._torch.rules import STATE_KEYS
from triptych.backends.native import Native, Setup
from triptych.backends.native_base import BaseNative, Handler
from triptych.backends.native_checks import call_setup, unfit
from triptych.backends.native_parts import Leaf
from triptych.backends.protocol import Batch, DType, Params, Slots
from triptych.errors import SetupError, in_one_line
from triptych.spec.schedules import COUNTS

_SLOTS = {key: slot for slot, key in STATE_KEYS.items()} | {
    "square_avg": "second_moment",
    "grad_avg": "first_moment",
}


class _Live:
    """One call of the user's function: model, optimizer and the rest, in one type."""

    def __init__(self, objects: Mapping[str, Any], where: str, dtype: DType) -> None:
        self.model, self.optimizer = objects["model"], objects["optimizer"]
        if not isinstance(self.optimizer, torch.optim.Optimizer):
            expected = "a torch.optim.Optimizer, since the model is PyTorch's"
            raise unfit(where, "optimizer", self.optimizer, expected)
        self.loss, self.clip = objects["loss"], objects.get("clip")
        self.scheduler: Any = objects.get("scheduler")
        self.own_dtype = str(next(self.model.parameters(), torch.zeros(())).dtype)[6:]
        self.model.to(getattr(torch, dtype))
        if isinstance(self.loss, nn.Module):
            self.loss.to(getattr(torch, dtype))
        held = {id(p) for group in self.optimizer.param_groups for p in group["params"]}
        self.trained = {
            name: param
            for name, param in self.model.named_parameters()
            if param.requires_grad and id(param) in held
        }
        if not self.trained:
            raise SetupError(
                f"{where}: 'optimizer' holds none of the model's parameters; "
                "make it from model.parameters(), after the last change of the model"
            )

    def step(self, loss: float = 0.0) -> None:
        """Make one update from the gradients that are there, as the user's loop does."""
        if self.clip is not None:
            self.clip(list(self.trained.values()))
        self.optimizer.step()
        self.schedule(1, loss)

    def schedule(self, count: int, loss: float = 0.0) -> None:
        """Tell the scheduler of so many updates."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            for _ in range(count if self.scheduler else 0):
                plateau = torch.optim.lr_scheduler.ReduceLROnPlateau
                self.scheduler.step(*([loss] if isinstance(self.scheduler, plateau) else []))

    def array(self, path: str) -> Tensor:
        """Return a parameter or buffer by its path."""
        module, _, attribute = path.rpartition(".")
        found: Tensor = getattr(self.model.get_submodule(module), attribute)
        return found


class TorchNative(BaseNative):
    """See :class:`triptych.backends.native.Native`."""

    framework = "torch"
    images_first = True

    def _begin(self) -> None:
        self.live = _Live(self.objects, self.where, self.dtype)
        self._own_dtype = self.live.own_dtype
        self._modules = native_layers.leaves(self.live.model, set(self.live.trained))
        self.leaves = dict(self._modules)

    @property
    def own_dtype(self) -> str:
        """The type of the user's own arrays."""
        return self._own_dtype

    def _again(self) -> _Live:
        """Return what a new call of the user's function makes."""
        objects = call_setup(self.setup, self.where)
        if objects["model"] is self.live.model:
            raise SetupError(
                f"{self.where}: 'model' is the same object at every call; "
                "build model and optimizer inside the function, so that each call starts anew"
            )
        return _Live(objects, self.where, self.dtype)

    # --- forward ------------------------------------------------------------------------------

    def _run(self, inputs: np.ndarray, training: bool, handler: Handler) -> np.ndarray:
        with torch.no_grad(), self._watched(handler), self._kept_statistics(training):
            output = self.live.model(self._tensor(inputs))
            if not isinstance(output, Tensor):
                raise TypeError(f"it returns {type(output).__name__}, expected one tensor")
            return self._numpy(output)

    @contextmanager
    def _watched(self, handler: Handler) -> Iterator[None]:
        """Let the handler decide what each main layer returns."""
        watched = {path: self.live.model.get_submodule(path) for path in self._modules}
        for path, module in watched.items():
            module.forward = _wrapped(path, module.forward, handler)
        try:
            with _Functions(handler, self.leaves):
                yield
        finally:
            for module in watched.values():
                del module.forward

    @contextmanager
    def _kept_statistics(self, training: bool) -> Iterator[None]:
        """Run in one mode and put buffers and mode back."""
        model, before = self.live.model, self.live.model.training
        kept = [(b, b.clone()) for b in model.buffers()] if training else []
        model.train(training)
        try:
            yield
        finally:
            model.train(before)
            for buffer, value in kept:
                buffer.copy_(value) if not buffer.requires_grad else None

    def _layer(self, path: str, inputs: np.ndarray, training: bool) -> np.ndarray:
        leaf = self.leaves[path]
        with torch.no_grad():
            if path not in self._modules:
                function, args, options = leaf.layer
                return self._numpy(function(self._tensor(inputs), *args, **options))
            module = self.live.model.get_submodule(path)
            with self._kept_statistics(training):
                output = module(self._tensor(inputs))
        return self._numpy(output[0] if isinstance(output, tuple) else output)

    def _tensor(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(np.array(array, order="C"))

    def _numpy(self, tensor: Any) -> np.ndarray:
        return (
            tensor.detach().cpu().numpy().copy()
            if isinstance(tensor, Tensor)
            else np.asarray(tensor)
        )

    def _get(self, handle: str) -> np.ndarray:
        return self._numpy(self.live.array(handle))

    def _set(self, handle: str, array: np.ndarray) -> None:
        with torch.no_grad():
            self.live.array(handle).copy_(torch.from_numpy(array))

    # --- loss and learning ----------------------------------------------------------------------

    def _loss_of(self, outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
        with torch.no_grad():
            return self._numpy(self.live.loss(self._tensor(outputs), self._tensor(targets)))

    def _evaluate(self, batch: Batch) -> Tensor:
        """The loss in training mode, with its graph."""
        inputs, targets = self._native_batch(batch)
        masks = self._masks(len(inputs))
        self.live.model.train()

        def drop(path: str, x: Any, call: Callable[[], Any]) -> Any:
            return self._masked(path, x, masks) if path in masks else call()

        if masks:
            with self._watched(drop):
                output = self.live.model(self._tensor(inputs))
        else:
            output = self.live.model(self._tensor(inputs))
        return self._one_number(output, self._tensor(targets))

    def _one_number(self, output: Tensor, targets: Tensor) -> Tensor:
        try:
            loss = self.live.loss(output, targets)
        except Exception as error:
            raise SetupError(
                f"{self.where}: 'loss' can't take the model's output {tuple(output.shape)} and the "
                f"target {tuple(targets.shape)} {str(targets.dtype)[6:]}: {in_one_line(error)}"
            ) from error
        if not isinstance(loss, Tensor) or loss.ndim:
            shape = tuple(getattr(loss, "shape", ()))
            raise SetupError(
                f"{self.where}: 'loss' returns shape {shape}, expected one number; "
                "take the mean or the sum"
            )
        return loss

    def loss(self, batch: Batch) -> float:
        """Return the loss on a batch, in training mode, without learning from it."""
        with torch.no_grad(), self._kept_statistics(True):
            return float(self._evaluate(batch))

    def gradients(self, batch: Batch) -> Params:
        """Return the gradient of every trainable array."""
        self.live.model.zero_grad(set_to_none=True)
        kept = [(b, b.clone()) for b in self.live.model.buffers()]
        self._evaluate(batch).backward()
        with torch.no_grad():
            for buffer, value in kept:
                buffer.copy_(value)
        found = {name: self._gradient(name) for name in self.trainable}
        self.live.model.zero_grad(set_to_none=True)
        return found

    def _gradient(self, name: str) -> np.ndarray:
        place = self._places[name]
        array = self.live.array(place.handle)
        grad = torch.zeros_like(array) if array.grad is None else array.grad
        return place.to_canonical(self._numpy(grad))

    def update(self, batch: Batch) -> float:
        """Make one update with the user's optimizer; return the loss before it."""
        self.live.optimizer.zero_grad(set_to_none=True)
        loss = self._evaluate(batch)
        loss.backward()
        value = float(loss.detach())
        self.live.step(value)
        self.updates += 1
        return value

    def play(
        self, gradients: Sequence[Params], start: Params | None = None, first: int = 0
    ) -> list[Params]:
        """Return the trainable params after each of the given gradients."""
        mine, kept = self.live, self.params()
        self.live = self._again()
        try:
            if first:
                self._hurry(first)
            self.load_params(kept | dict(start or {}))
            return [self._given(gradient) for gradient in gradients]
        finally:
            self.live = mine

    def _given(self, gradient: Params) -> Params:
        """Make one update with a given gradient; return the trainable params after it."""
        for path, param in self.live.trained.items():
            whole = np.zeros(tuple(param.shape), self.dtype)
            for name in self.trainable:
                if self._places[name].handle == path:
                    native = np.asarray(gradient[name], self.dtype)
                    whole = self._places[name].to_native(native, whole)
            param.grad = torch.from_numpy(whole)
        self.live.step()
        everything = self.params()
        return {name: everything[name] for name in self.trainable}

    def _hurry(self, first: int) -> None:
        """Stand where ``first`` updates with zero gradients lead: counters and schedule alone."""
        with torch.no_grad():
            for param in self.live.trained.values():
                param.zero_()
                param.grad = torch.zeros_like(param)
        self.live.optimizer.step()
        for state in self.live.optimizer.state.values():
            if "step" in state:
                state["step"] = state["step"] * 0 + first
        self.live.schedule(first)

    def _restart(self) -> None:
        self.live = self._again()

    def _drawn_again(self, objects: dict[str, Any]) -> Params:
        mine, self.live = self.live, _Live(objects, self.where, self.dtype)
        try:
            return self.params()
        finally:
            self.live = mine

    def slots(self) -> Slots:
        """Return the optimizer's state where its meaning is known, else no values."""
        values: dict[str, Params] = {}
        for name in self.trainable:
            place = self._places[name]
            for key, slot in self.live.optimizer.state.get(
                self.live.array(place.handle), {}
            ).items():
                if key in _SLOTS and isinstance(slot, Tensor):
                    arrays = values.setdefault(_SLOTS[key], {})
                    arrays[name] = place.to_canonical(self._numpy(slot))
        full = {
            slot: arrays for slot, arrays in values.items() if set(arrays) == set(self.trainable)
        }
        return Slots(self.updates, full)

    # --- factors --------------------------------------------------------------------------------

    def _optimizer_factors(self) -> dict[str, Any]:
        found = optimizer_factors(self.live.optimizer)
        if self.live.scheduler is not None:
            fresh, before = self._again(), 0
            for count in COUNTS:
                fresh.schedule(count - before, math.inf)
                before = count
                rate = float(fresh.optimizer.param_groups[0]["lr"])
                found[f"optimizer.rate at update {count}"] = rate
        return found

    def _loss_factors(self) -> dict[str, Any]:
        return loss_factors(self.live.loss)


def _wrapped(path: str, forward: Callable[..., Any], handler: Handler) -> Callable[..., Any]:
    def call(x: Any, *rest: Any, **options: Any) -> Any:
        return handler(path, x, lambda: forward(x, *rest, **options))

    return call


class _Functions(TorchFunctionMode):
    """Hands pooling written as a function to the handler, as a layer named by its order."""

    def __init__(self, handler: Handler, leaves: dict[str, Leaf]) -> None:
        super().__init__()
        self.handler, self.leaves, self.count = handler, leaves, 0

    def __torch_function__(
        self, func: Any, types: Any, args: Any = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        options = dict(kwargs or {})
        leaf = native_layers.function_leaf(func, args, options, self.count + 1)
        if leaf is None:
            return func(*args, **options)
        self.count += 1
        self.leaves.setdefault(leaf.path, leaf)
        return self.handler(leaf.path, args[0], lambda: func(*args, **options))


class _Backend:
    expected = "a torch.nn.Module"

    def owns(self, objects: Mapping[str, Any]) -> bool:
        """Return whether the model is an ``nn.Module``."""
        return isinstance(objects.get("model"), nn.Module)

    def build(self, setup: Setup, where: str, dtype: DType) -> Native:
        """Call the user's function and return the setup, in this type."""
        return TorchNative(setup, where, dtype)


NATIVE = _Backend()
