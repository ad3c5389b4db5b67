"""A trained network written as Flax' own: an NNX module as text, its arrays beside it.

The text can do without Triptych: it holds the class, ``load``, and where there is an optimizer
``make_optimizer`` and ``load_optimizer``. Reading is in ``porting.py``.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import jax.numpy as jnp
import numpy as np
from flax import nnx

from triptych.backends._jax import rule_source, source
from triptych.backends._jax.layouts import HOMES
from triptych.backends._jax.porting import files
from triptych.backends._jax.porting.optimizers import FIELDS, rule_text
from triptych.backends.carried import Trained
from triptych.backends.layout import Home
from triptych.backends.protocol import DType, Params
from triptych.backends.sourcing import class_name, has, is_index
from triptych.errors import PortError, Unsupported
from triptych.spec.network import Network

_LOAD = '''
def load(path: str, dtype: type = jnp.float32) -> {name}:
    """Return the network with a file's arrays; float64 needs jax_enable_x64."""
    model = nnx.eval_shape(lambda: {name}(nnx.Rngs(0), dtype))  # shapes alone, nothing is drawn
    {reseed}arrays = {read}
    for place, variable in nnx.to_flat_state(nnx.state(model, (nnx.Param, nnx.BatchStat))):
        variable.set_value(jax.device_put({get}.astype(dtype)))
    return model
'''
_LOAD_OPTIMIZER = '''
def load_optimizer(path: str, model: nnx.Module) -> nnx.Optimizer:
    """Return the optimizer with the state in a .safetensors file."""
    optimizer = nnx.eval_shape(lambda: make_optimizer(model))
    arrays = load_file(path)
    for place, variable in nnx.to_flat_state(nnx.state(optimizer)):
        array = arrays[".".join(map(str, place))]
        variable.set_value(jax.device_put(array.astype(variable.dtype)))
    return optimizer
'''
_RESEED = "nnx.reseed(model, default=0)  # the streams of dropout\n    "
_SAFETENSORS = ("load_file(path)", 'arrays[".".join(map(str, place))]')
_MSGPACK = ("msgpack_restore(Path(path).read_bytes())", "arrays[place[0]][place[1]]")
_READ_IMPORTS = {
    "jax.": "import jax",
    "load_file(": "from safetensors.numpy import load_file",
    "msgpack_restore(": "from flax.serialization import msgpack_restore",
    "Path(": "from pathlib import Path",
}


def write(trained: Trained, path: Path, title: str) -> list[Path]:
    """Write ``net.safetensors`` or ``net.msgpack``, ``net.py``, and the optimizer's state.

    Raises:
        PortError: the file's ending is another's.
        Unsupported: the network or the rule can't be written as source.
    """
    if path.suffix not in files.WRITERS:
        raise PortError(
            f"{path} can't be written as Flax' file; choose a name that ends in "
            f"{' or '.join(files.WRITERS)}"
        )
    with_slots = trained.slots is not None and trained.rule is not None
    rule = rule_words(trained) if with_slots else ""
    text = whole_text(trained.network, title, path.suffix, rule)
    code = path.with_suffix(".py")
    files.WRITERS[path.suffix](path, native_arrays(trained.network, trained.params), {})
    code.write_text(text)
    if not rule:
        return [path, code]
    beside = optimizer_path(path)
    metadata = {"rule": rule_text(trained.rule)} if trained.rule else {}
    files.write_safetensors(beside, _optimizer_arrays(trained, path, title), metadata)
    return [path, code, beside]


def optimizer_path(path: Path) -> Path:
    """Return where the optimizer's state of a file of arrays is: ``net.optimizer.safetensors``."""
    return path.with_name(f"{path.stem}.optimizer.safetensors")


def rule_words(trained: Trained) -> str:
    """The text of the rule; empty where Optax has no words for it."""
    try:
        return rule_source.write_rule(trained.rule) if trained.rule else ""
    except Unsupported:
        return ""


def native_arrays(network: Network, arrays: Params) -> dict[str, np.ndarray]:
    """Return arrays of the params' names and shapes by the paths of the module's attributes."""
    found = {}
    for name, array in arrays.items():
        node, home = _home(network, name)
        found[f"{node}.{home.attribute}"] = np.asarray(home.to_native(array), order="C")
    return found


def _home(network: Network, name: str) -> tuple[str, Home]:
    node, local = name.rsplit("/", 1)
    return node, HOMES[network.by_name[node].layer.kind][local]


def _optimizer_arrays(trained: Trained, path: Path, title: str) -> dict[str, np.ndarray]:
    """The state of the written optimizer, by the paths in its own state."""
    assert trained.slots is not None
    module = load_module(path)
    model = module.load(str(path), _type(trained))
    optimizer = nnx.eval_shape(lambda: module.make_optimizer(model))
    places = [place for place, _ in nnx.to_flat_state(nnx.state(optimizer))]
    slots = {FIELDS[slot]: values for slot, values in trained.slots.values.items()}
    natives = {field: native_arrays(trained.network, v) for field, v in slots.items()}
    found = {}
    for place in places:
        key = ".".join(map(str, place))
        field = next((part for part in place if part in natives), None)
        if field is None:
            found[key] = np.asarray(trained.slots.updates, np.int32)
        else:
            found[key] = natives[str(field)][".".join(map(str, place[-2:]))]
    return found


def _type(trained: Trained) -> Any:
    return next((array.dtype.type for array in trained.params.values()), np.float32)


# --- text ----------------------------------------------------------------------------------------


def whole_text(network: Network, title: str, suffix: str, rule: str = "") -> str:
    """Return the module's text with what loads its arrays, and its optimizer's."""
    read, get = _MSGPACK if suffix == ".msgpack" else _SAFETENSORS
    name = class_name(title)
    reseed = _RESEED if has(network, "dropout") else ""
    texts = [
        source.write(network, title),
        _LOAD.format(name=name, read=read, get=get, reseed=reseed),
    ]
    texts += [rule, _LOAD_OPTIMIZER] if rule else []
    imports, bodies = [], []
    for text in texts:
        lines = text.strip("\n").split("\n")
        own = [line for line in lines if line.startswith(("import ", "from "))]
        imports += own
        bodies.append("\n".join(line for line in lines if line not in own).strip("\n"))
    body = "\n\n\n".join(bodies)
    imports += [line for sign, line in _READ_IMPORTS.items() if sign in body]
    return "\n".join(_ordered(imports)) + "\n\n\n" + body + "\n"


def _ordered(imports: list[str]) -> list[str]:
    """Imports once each, those of Python's own library first."""
    once = sorted(set(imports), key=lambda line: (line.startswith("from"), line))
    own = [line for line in once if line.split()[1].split(".")[0] in sys.stdlib_module_names]
    rest = [line for line in once if line not in own]
    return [*own, "", *rest] if own else rest


# --- loading again -------------------------------------------------------------------------------


def load_module(path: Path) -> ModuleType:
    """Return the written text as a module."""
    code = path.with_suffix(".py")
    found = importlib.util.spec_from_file_location(f"written_{path.stem}", code)
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


class JaxWritten:
    """What was written, loaded by its own text; see :class:`triptych.backends.carried.Written`."""

    dtypes: tuple[DType, ...] = ("float32", "float64")

    def __init__(self, trained: Trained, path: Path, runtime: str) -> None:
        self.network, self.runtime, self.path = trained.network, runtime, path
        self.own = _type(trained)
        self.module = load_module(path)
        self.index = is_index(trained.network)
        self._runs: dict[str, Any] = {}

    def outputs(self, observations: np.ndarray, dtype: DType) -> np.ndarray:
        """Return its output in inference mode, canonical layout."""
        if dtype not in self._runs:
            model = self.module.load(str(self.path), jnp.dtype(dtype))
            model.eval()
            self._runs[dtype] = (model, nnx.jit(lambda own, x: own(x)))
        model, run = self._runs[dtype]
        x = np.asarray(observations, np.int32 if self.index else dtype)
        return np.asarray(run(model, jnp.asarray(x)), dtype)

    def params(self) -> Params:
        """Return the arrays it holds, canonical layout."""
        model = self.module.load(str(self.path), self.own)
        found = {}
        for name in self.network.parameters:
            node, home = _home(self.network, name)
            array = np.asarray(getattr(getattr(model, node), home.attribute)[...])
            found[name] = np.array(home.to_canonical(array), order="C")
        return found
