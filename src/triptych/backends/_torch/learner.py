"""Network, objective and update rule alive in PyTorch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from triptych.backends import objective_parts
from triptych.backends._torch import factors, rules, source
from triptych.backends._torch.layouts import HOMES
from triptych.backends._torch.model import Model
from triptych.backends._torch.namespace import TorchNamespace
from triptych.backends.base import BaseLearner
from triptych.backends.layout import Home, join
from triptych.backends.offering import NativeBackend
from triptych.backends.protocol import Batch

XP = TorchNamespace()


class TorchLearner(BaseLearner):
    """See :class:`triptych.backends.protocol.Learner`."""

    homes = HOMES

    def _build(self) -> None:
        native = getattr(torch, self.dtype)
        self.models = {"online": Model(self.network, native).eval()}
        if self.has_target:
            self.models["target"] = Model(self.network, native).eval()
        self.natives = self._natives()
        self.trained: list[nn.Parameter] = [
            getattr(self.model.get_submodule(node), attribute) for node, attribute in self.natives
        ]
        self.optimizer = rules.build(self.native_rule, self.trained) if self.native_rule else None

    @property
    def model(self) -> Model:
        """The ``nn.Module`` that learns."""
        return self.models["online"]

    def _native_factors(self) -> dict[str, Any]:
        """Every constant read back from the live modules and param groups."""
        return factors.read(self)

    def _array(self, node: str, home: Home, network: str) -> Any:
        return home.piece(getattr(self.models[network].get_submodule(node), home.attribute))

    def _pieces(self, arrays: Sequence[Tensor]) -> dict[str, Tensor]:
        """One array per trained parameter -> views of their parts by canonical name."""
        owners = zip(self.natives.values(), arrays, strict=True)
        return {n: self._home(n)[1].piece(array) for names, array in owners for n in names}

    def _joined(self, values: Mapping[str, np.ndarray]) -> list[Tensor]:
        """Native parts by canonical name -> one array per trained parameter."""
        return [
            # Fused optimizers read raw memory: strides must be the parameter's own.
            torch.empty_like(p, requires_grad=False).copy_(
                torch.from_numpy(
                    join(tuple(p.shape), self.dtype, [(self._home(n)[1], values[n]) for n in names])
                )
            )
            for p, names in zip(self.trained, self.natives.values(), strict=True)
        ]

    def _tensors(self, inputs: Batch) -> dict[str, Tensor]:
        return {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in inputs.items()}

    def _forward(self, observations: np.ndarray, network: str) -> np.ndarray:
        with torch.inference_mode():
            x = torch.from_numpy(np.ascontiguousarray(observations))
            return self.models[network](x).numpy()

    def _advance(
        self, observations: np.ndarray, state: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        with torch.inference_mode():
            x = torch.from_numpy(np.ascontiguousarray(observations))
            values, after = self.model.step(x, self._tensors(state))
        last = values[self.network.output.name].numpy()
        return last, {name: value.numpy() for name, value in after.items()}

    def _layer_outputs(self, inputs: Batch, training: bool) -> dict[str, np.ndarray]:
        model, tensors = self.model, self._tensors(inputs)
        kept = self._buffers()
        model.train(training)
        with torch.no_grad():
            values = model.all_outputs(tensors["observation"], tensors)
        model.eval()
        self._restore_buffers(kept)
        return {name: value.numpy() for name, value in values.items()}

    def _objective(self, tensors: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
        """Run the forward passes that the objective asks for; return its loss and its reports."""
        assert self.objective is not None
        outputs = {
            name: self._array(*self._home(name), "online")
            for name in objective_parts.reads(self.objective)
        }
        for item in self._passes():
            model = self.models[item.network]
            with torch.set_grad_enabled(item.gradient):
                self._set_mode(model, item.gradient)
                masks = tensors if item.gradient else None
                if item.nodes:
                    values = model.all_outputs(tensors[item.input], masks)
                else:
                    values = {self.network.output.name: model(tensors[item.input], masks)}
                outputs |= self._results(item, values)
                self._set_mode(model, False)
        loss: Tensor = self.objective.loss(XP, outputs, tensors)
        return loss, objective_parts.reports(self.objective, XP, outputs, tensors)

    def _set_mode(self, model: Model, training: bool) -> None:
        """Go into or out of training mode, where any layer knows the difference."""
        if model.has_modes:
            model.train(training)

    def _loss_and_gradients(self, inputs: Batch) -> tuple[float, dict[str, np.ndarray]]:
        kept = self._buffers()
        loss, _ = self._objective(self._tensors(inputs))
        grads = torch.autograd.grad(loss, self.trained, allow_unused=True)
        self._restore_buffers(kept)
        pairs = zip(self.trained, grads, strict=True)
        full = [torch.zeros_like(p) if g is None else g for p, g in pairs]
        return float(loss.detach()), {n: g.numpy() for n, g in self._pieces(full).items()}

    def _step(self, inputs: Batch, rate: float) -> Tensor:
        loss, reports = self._objective(self._tensors(inputs))
        for param in self.trained:
            param.grad = None
        loss.backward()
        self.reported = {name: value.detach() for name, value in reports.items()}
        self._change(rate)
        return loss.detach()

    def _apply(self, gradients: dict[str, np.ndarray], rate: float) -> None:
        for param, grad in zip(self.trained, self._joined(gradients), strict=True):
            param.grad = grad
        self._change(rate)

    def _change(self, rate: float) -> None:
        assert self.optimizer is not None and self.rule is not None
        for param in self.trained:
            if param.grad is None:
                param.grad = torch.zeros_like(param)
        rules.clip(self._clipped(), self.rule.clip)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        self.optimizer.step()

    def _clipped(self) -> list[Any]:
        """What is clipped: the parameters, or their parts where each has a norm of its own."""
        assert self.rule is not None
        if self.rule.clip.norm is None or len(self.trained) == len(self.network.trainable):
            return self.trained
        grads = [param.grad for param in self.trained if param.grad is not None]
        return [SimpleNamespace(grad=view) for view in self._pieces(grads).values()]

    def _read(self, node: str, home: Home, network: str) -> np.ndarray:
        return self._array(node, home, network).detach().numpy()

    def _write(self, values: dict[str, tuple[str, Home, np.ndarray]], network: str) -> None:
        with torch.no_grad():
            for node, home, array in values.values():
                self._array(node, home, network).copy_(torch.tensor(array))

    def _read_slot(self, slot: str, name: str) -> np.ndarray:
        assert self.optimizer is not None and self.rule is not None
        node, home = self._home(name)
        param = self.trained[list(self.natives).index((node, home.attribute))]
        value = self.optimizer.state[param].get(rules.STATE_KEYS[slot])
        if value is None:
            shape = tuple(home.piece(param).shape)
            return np.full(shape, getattr(self.rule, "initial", 0.0), self.dtype)
        return home.piece(value).detach().numpy()

    def _write_slots(self, updates: int, values: dict[str, dict[str, np.ndarray]]) -> None:
        assert self.optimizer is not None
        counts_in_tensor = isinstance(self.optimizer, torch.optim.Adam)
        for param in self.trained:
            state = self.optimizer.state[param]
            state.clear()
            if updates > 0:
                state["step"] = torch.tensor(float(updates)) if counts_in_tensor else updates
        for slot, arrays in values.items() if updates > 0 else ():
            for param, full in zip(self.trained, self._joined(arrays), strict=True):
                self.optimizer.state[param][rules.STATE_KEYS[slot]] = full

    def _buffers(self) -> dict[str, Tensor]:
        """Copies of the running statistics."""
        return {name: buffer.clone() for name, buffer in self.model.named_buffers()}

    def _restore_buffers(self, kept: dict[str, Tensor]) -> None:
        for name, buffer in self.model.named_buffers():
            buffer.copy_(kept[name])


BACKEND = NativeBackend("torch", TorchLearner, {"torch": torch.__version__}, source.write)
