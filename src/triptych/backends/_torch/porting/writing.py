"""What a port writes for PyTorch: arrays, the module's source, the optimizer; and loads again.

The source text stands alone: it imports PyTorch, and nothing of Triptych.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

from triptych.backends import sourcing
from triptych.backends._torch import rule_source, source
from triptych.backends._torch.layouts import HOMES
from triptych.backends._torch.porting import files, optimizers
from triptych.backends.carried import Trained
from triptych.backends.layout import Home, join
from triptych.backends.protocol import DType, Params
from triptych.errors import PortError, TriptychError, Unsupported
from triptych.spec.network import Network
from triptych.spec.plain import from_plain, to_plain
from triptych.spec.rules import RULES, Rule

_LOAD = '''
FILE = Path(__file__).with_name("{file}")


def load(path: str | Path = FILE, dtype: torch.dtype = torch.{dtype}) -> {name}:
    """Return the network with what it learned, in inference mode."""
    model = {name}(dtype)
    model.load_state_dict({read})
    return model.eval()
'''
_LOAD_OPTIMIZER = '''

def load_optimizer(
    model: {name}, path: str | Path = {place}
) -> torch.optim.Optimizer:
    """Return the optimizer with its state, to go on training after model.train()."""
    optimizer = make_optimizer(model)
    optimizer.load_state_dict({read})
    return optimizer
'''
_SAVED, _SAFE = "torch.load(path, weights_only=True)", "load_file(path)"


@dataclass(frozen=True)
class Said:
    """What our own files say about their arrays."""

    network: Network | None = None
    rule: Rule | None = None
    updates: int | None = None


def read_said(text: str | None, path: Path) -> Said:
    """Return what one of our files says, read strictly.

    Raises:
        PortError: it is broken.
    """
    if text is None:
        return Said()
    try:
        data = json.loads(text)
        rule = optimizers.from_text(data["rule"]) if data.get("rule") else None
        updates = None if data.get("updates") is None else int(data["updates"])
        return Said(from_plain(data["network"]), rule, updates)
    except (
        TriptychError,
        ValueError,
        KeyError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        raise PortError(f"{path}: what it says about its network can't be read: {error}") from None


def write(trained: Trained, path: Path, title: str) -> list[Path]:
    """Write the arrays as ``path``, the source beside them, and the optimizer's state."""
    name = _class(title)
    rule = _rule_text(trained)
    text = _text(trained, path, name, rule)
    place = path.with_suffix(".py")
    place.write_text(text, encoding="utf-8")
    module = run(place)
    model: nn.Module = getattr(module, name)(_type(trained))
    model.load_state_dict(_native(model, trained.network, trained.params))
    state = _optimizer_state(module, model, trained) if rule else None
    said = json.dumps(_said(trained, state is not None))
    return [path, place, *_save(path, model.state_dict(), state, said)]


def _save(path: Path, arrays: dict[str, Tensor], state: Any, said: str) -> list[Path]:
    """Write the main file, and what it has no place for."""
    if path.suffix == ".safetensors":
        save_file(
            {k: v.contiguous() for k, v in arrays.items()}, path, {"format": "pt", files.SAID: said}
        )
        if state is None:
            return []
        torch.save(state, files.optimizer_path(path))
        return [files.optimizer_path(path)]
    whole = {"model": dict(arrays), files.SAID: said}
    torch.save(whole | ({} if state is None else {"optimizer": state}), path)
    return []


def _said(trained: Trained, optimizer: bool) -> dict[str, Any]:
    found: dict[str, Any] = {"network": to_plain(trained.network)}
    if optimizer and trained.rule is not None and trained.slots is not None:
        found |= {"rule": optimizers.to_text(trained.rule), "updates": trained.slots.updates}
    return found


def _type(trained: Trained) -> torch.dtype:
    wide = any(array.dtype == np.float64 for array in trained.params.values())
    return torch.float64 if wide else torch.float32


def _class(title: str) -> str:
    """A class name that is none of the optimizers' in the same text."""
    name = sourcing.class_name(title)
    return f"{name}Network" if name in {rule.__name__ for rule in RULES.values()} else name


# --- text ----------------------------------------------------------------------------------------


def _rule_text(trained: Trained) -> str:
    if trained.rule is None or trained.slots is None:
        return ""
    try:
        return rule_source.write_rule(trained.rule)
    except Unsupported:
        return ""


def _text(trained: Trained, path: Path, name: str, rule: str) -> str:
    """The module's source, the rule's, and the functions that load what they belong to."""
    texts = [source.write(trained.network, name)] + ([rule] if rule else [])
    safe = path.suffix == ".safetensors"
    heads, bodies = zip(*(_parted(text) for text in texts), strict=True)
    imports = [line for head in heads for line in head] + [
        "from pathlib import Path",
        "import torch",
    ]
    imports += ["from safetensors.torch import load_file"] if safe else []
    words = {"name": name, "file": path.name, "dtype": str(_type(trained))[6:]}
    loading = _LOAD.format(read=_SAFE if safe else f'{_SAVED}["model"]', **words)
    if rule:
        beside = files.optimizer_path(path).name
        place = f'FILE.with_name("{beside}")' if safe else "FILE"
        read = _SAVED if safe else f'{_SAVED}["optimizer"]'
        loading += _LOAD_OPTIMIZER.format(name=name, place=place, read=read)
    blocks = [*(body.strip() for body in bodies), loading.strip()]
    return "\n".join(_ordered(imports)) + "\n\n\n" + "\n\n\n".join(blocks) + "\n"


def _parted(text: str) -> tuple[list[str], str]:
    """The imports at the top of a written text, and the rest."""
    head, body = text.strip().split("\n\n\n", 1)
    return [line for line in head.splitlines() if line], body


def _ordered(lines: list[str]) -> list[str]:
    """Each import once, Python's own first."""
    lines = list(dict.fromkeys(lines))
    if "from torch import Tensor, nn" in lines:
        lines = [line for line in lines if line != "from torch import nn"]
    other = [line for line in lines if line.split()[1].split(".")[0] in ("torch", "safetensors")]
    own = [line for line in lines if line not in other]

    def key(line: str) -> tuple[bool, str]:
        return (line.startswith("from"), line)

    others = sorted(other, key=lambda line: (line.split()[1].split(".")[0], *key(line)))
    return [*sorted(own, key=key), "", *others]


# --- arrays --------------------------------------------------------------------------------------


def _native(
    model: nn.Module, network: Network, values: Mapping[str, np.ndarray]
) -> dict[str, Tensor]:
    """The module's ``state_dict`` with canonical arrays in their homes."""
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    for name, array in _joined(network, values, {k: v for k, v in state.items()}).items():
        state[name] = array
    return state


def _joined(
    network: Network, values: Mapping[str, np.ndarray], like: Mapping[str, Tensor]
) -> dict[str, Tensor]:
    """Canonical arrays as native ones, by native name."""
    pieces: dict[str, list[tuple[Home, np.ndarray]]] = {}
    for name, array in values.items():
        node, local = name.rsplit("/", 1)
        home = HOMES[network.by_name[node].layer.kind][local]
        key = f"{node}.{home.attribute}"
        pieces.setdefault(key, []).append((home, home.to_native(array)))
    found = {}
    for key, parts in pieces.items():
        # The type of what is carried, whatever the model's own is.
        whole = join(tuple(like[key].shape), parts[0][1].dtype, parts)
        found[key] = torch.from_numpy(np.ascontiguousarray(whole))
    return found


def _optimizer_state(module: ModuleType, model: nn.Module, trained: Trained) -> Any:
    """The ``state_dict`` of the written optimizer with the slots in it."""
    assert trained.rule is not None and trained.slots is not None
    optimizer: torch.optim.Optimizer = module.make_optimizer(model)
    like = model.state_dict()
    slots = {
        slot: _joined(trained.network, arrays, like)
        for slot, arrays in trained.slots.values.items()
    }
    learns = {name: p for name, p in model.named_parameters() if p.requires_grad}
    optimizers.fill(optimizer, trained.rule, trained.slots.updates, slots, learns)
    return optimizer.state_dict()


# --- loading again -------------------------------------------------------------------------------


def run(path: Path) -> ModuleType:
    """Return a written source as a module, without leaving compiled files beside it."""
    module = ModuleType(path.stem)
    module.__file__ = str(path)
    exec(compile(path.read_text(encoding="utf-8"), str(path), "exec"), module.__dict__)
    return module


class TorchWritten:
    """See :class:`triptych.backends.carried.Written`; the written source runs what was written."""

    runtime = f"torch {torch.__version__}"
    dtypes: tuple[DType, ...] = ("float32", "float64")

    def __init__(self, trained: Trained, path: Path) -> None:
        self.network = trained.network
        self.module = run(path.with_suffix(".py"))
        self._models: dict[DType, nn.Module] = {}

    def outputs(self, observations: np.ndarray, dtype: DType) -> np.ndarray:
        """Return the module's output in inference mode."""
        if dtype not in self._models:
            self._models[dtype] = self.module.load(dtype=getattr(torch, dtype))
        with torch.no_grad():
            output: Tensor = self._models[dtype](
                torch.from_numpy(np.ascontiguousarray(observations))
            )
        return output.numpy()

    def params(self) -> Params:
        """Return the module's arrays in the canonical layout."""
        arrays = self.module.load().state_dict()
        found = {}
        for name in self.network.parameters:
            node, local = name.rsplit("/", 1)
            home = HOMES[self.network.by_name[node].layer.kind][local]
            native = home.piece(arrays[f"{node}.{home.attribute}"].numpy())
            found[name] = np.array(home.to_canonical(native), order="C")
        return found


def load(trained: Trained, path: Path) -> TorchWritten:
    """Return what :func:`write` wrote."""
    return TorchWritten(trained, path)
