"""Finding a backend by name, importing its framework only then, in an order that works.

PyTorch is imported before TensorFlow (the other order crashes on some systems), and Keras is
pinned to TensorFlow. Adding a backend: its folder, and a line in ``_FOLDERS``.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from importlib.util import find_spec
from typing import Any

from triptych.backends.carried import Porter
from triptych.backends.layout import Homes
from triptych.backends.native import Native, NativeBackend, Setup
from triptych.backends.native_checks import call_setup, unfit
from triptych.backends.protocol import Backend, DType
from triptych.errors import BackendError, Unsupported, did_you_mean, missing
from triptych.spec.rules import Rule

# name: (module, packages it needs, extra that installs them)
_FOLDERS: dict[str, tuple[str, tuple[str, ...], str]] = {
    "torch": ("triptych.backends._torch", ("torch",), "torch"),
    "jax": ("triptych.backends._jax", ("jax", "flax", "optax"), "jax"),
    "keras": ("triptych.backends._keras", ("keras", "tensorflow"), "keras"),
    "numpy": ("triptych.backends._numpy", (), ""),
}
_NATIVE = {"torch": "torch", "keras": "keras", "jax": "flax"}
"""The package that a user's model comes from, by backend."""
FRAMEWORKS = ("torch", "jax", "keras")
"""The three panels; ``numpy`` is the oracle that judges them."""


_one_only = False


def load_one_only() -> None:
    """Say that this process loads one framework: PyTorch need not come before TensorFlow then."""
    global _one_only
    _one_only = True


def check_names(names: Iterable[str]) -> None:
    """Raise BackendError for an unknown name, MissingDependency for one not installed."""
    for name in names:
        if name not in _FOLDERS:
            known = ", ".join(_FOLDERS)
            hint = did_you_mean(name, _FOLDERS)
            raise BackendError(f"unknown backend {name!r}{hint}; there are {known}")
        _, packages, extra = _FOLDERS[name]
        for package in packages:
            if not _installed(package):
                raise missing(package, extra, f"backend {name!r}")


def installed() -> tuple[str, ...]:
    """Return the frameworks whose packages can be found, without importing them."""
    return tuple(name for name in FRAMEWORKS if all(map(_installed, _FOLDERS[name][1])))


def get(name: str) -> Backend:
    """Return a backend, importing its framework.

    Raises:
        BackendError: the name is unknown, or Keras already runs on something else.
        MissingDependency: a package is not installed; the message says how to install it.
    """
    check_names([name])
    if name == "keras" and _FOLDERS[name][0] not in sys.modules:
        _pin_keras()
        with _quiet_start():
            import_module(_FOLDERS[name][0])
    backend: Backend = import_module(_FOLDERS[name][0]).BACKEND
    return backend


def build_native(setup: Setup, where: str, dtype: DType) -> Native:
    """Call a user's function and return its setup alive on the framework of its model.

    Raises:
        SetupError: it raises or returns what does not fit; the message names the key.
    """
    objects = call_setup(setup, where)
    found = framework_of(objects["model"])
    if found is None:
        expected = "a torch.nn.Module, a keras.Model or a flax.nnx.Module"
        raise unfit(where, "model", objects["model"], expected)
    get(found)
    backend: NativeBackend = import_module(f"{_FOLDERS[found][0]}.native").NATIVE
    if not backend.owns(objects):
        raise unfit(where, "model", objects["model"], backend.expected)
    # Keras makes arrays in the type of the moment, so that its objects have to be made once more.
    waiting = [] if found == "keras" else [objects]
    return backend.build(lambda: waiting.pop() if waiting else setup(), where, dtype)


def framework_of(model: Any) -> str | None:
    """Return the backend of the framework that a user's model comes from, None for any other."""
    roots = {kind.__module__.split(".")[0] for kind in type(model).__mro__}
    return next((name for name, root in _NATIVE.items() if root in roots), None)


def defaults(name: str) -> dict[str, Callable[[], Any]]:
    """Return makers of fresh native objects with nothing said, by subject (``making.py``)."""
    get(name)
    found: dict[str, Callable[[], Any]] = import_module(f"{_FOLDERS[name][0]}.defaults").DEFAULTS
    return found


def porter(name: str) -> Porter:
    """Return what reads and writes a framework's own files and objects."""
    get(name)
    found: Porter = import_module(f"{_FOLDERS[name][0]}.porting").PORTER
    return found


def rule_writer(name: str) -> Callable[[Rule], str]:
    """Return the writer of a framework's native update rules (``rule_source.py``).

    Raises:
        Unsupported: the backend has none.
    """
    get(name)
    module = f"{_FOLDERS[name][0]}.rule_source"
    if find_spec(module) is None:
        raise Unsupported(f"backend {name!r} cannot write update rules as native code")
    found: Callable[[Rule], str] = import_module(module).write_rule
    return found


def homes(name: str) -> Homes:
    """Return where each canonical array lives in a framework (``layouts.py``)."""
    get(name)
    found: Homes = import_module(f"{_FOLDERS[name][0]}.layouts").HOMES
    return found


@contextmanager
def _quiet_start() -> Iterator[None]:
    """Hold back what TensorFlow's C++ code prints while it is imported; show it on an error.

    Its log level is not heeded before its logging has begun.
    """
    try:
        kept = os.dup(2)
    except OSError:
        yield
        return
    with tempfile.TemporaryFile() as held:
        sys.stderr.flush()
        os.dup2(held.fileno(), 2)
        try:
            yield
        except BaseException:
            held.seek(0)
            os.write(kept, held.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


def _installed(package: str) -> bool:
    if package in sys.modules:
        return sys.modules[package] is not None
    return find_spec(package) is not None


def _pin_keras() -> None:
    if "keras" in sys.modules and os.environ.get("KERAS_BACKEND", "tensorflow") != "tensorflow":
        raise BackendError(
            f"Keras is already running on {os.environ['KERAS_BACKEND']!r} in this process; "
            "Triptych's keras backend is Keras on TensorFlow: start a new process for it"
        )
    os.environ["KERAS_BACKEND"] = "tensorflow"
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    # TensorFlow's default on most processors, said aloud; without it updates are 1.6 times slower.
    os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")
    if _installed("torch") and not _one_only:
        import_module("torch")
