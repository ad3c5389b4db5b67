"""One port from end to end: write, load again, prove, and only then put in place.

Which reader reads is in ``kinds.py``; what is compared in ``proof.py``.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from triptych.backends.carried import Given, Porter, Source, Trained
from triptych.errors import PortError, StorageError
from triptych.port import kinds
from triptych.port.proof import Proof, prove
from triptych.port.run_folders import NETWORK
from triptych.runs import files
from triptych.spec.plain import to_plain

REPORT = "port.json"


@dataclass(frozen=True)
class Ported:
    """What came of a port.

    Attributes:
        source: the kind of the source.
        target: what was asked for.
        trained: what was carried.
        proof: of the port.
        out: the main file, or the folder that was asked for; None where the proof failed.
        slots: ``carried``, ``left`` (with the reason in the notes) or ``none``.
        notes: what was turned or left behind.
    """

    source: str
    target: str
    trained: Trained
    proof: Proof
    out: Path | None
    slots: str
    notes: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return what ``--json`` prints."""
        network = self.trained.network
        return {
            "source": self.source,
            "target": self.target,
            "passed": self.proof.passed,
            "layers": len(network.nodes) - 1,
            "parameters": network.parameter_count,
            "forward": {kind: self.proof.forward.get(kind) for kind in ("float32", "float64")},
            "gradients": dict(self.proof.gradients),
            "slots": self.slots,
            "reasons": list(self.proof.reasons),
            "notes": list(self.notes),
            "out": None if self.out is None else str(self.out),
        }


def carry(source: Source, to: str, out: Path, title: str, force: bool = False) -> Ported:
    """Write a source for a target, prove it against the source's runtime, and put it in place.

    Args:
        source: a trained network where it comes from.
        to: one of ``kinds.TARGETS``.
        out: a folder to make, or the main file where its ending is one of the target's.
        title: of the network, for the names in source text and files.
        force: whether to replace what stands at ``out``.

    Raises:
        PortError: something stands there already, or the target has no such file.
        Unsupported: the target cannot express a layer or the rule exactly.
        StorageError: the disk is full or the place cannot be written.
    """
    trained = source.trained
    _check_finite(trained)
    suffix = kinds.suffix(to, out)
    _check_place(out, force)
    porter = kinds.porter(to)
    with _workplace(out) as folder:
        stem = out.stem if suffix == out.suffix else title
        main = folder / f"{stem}{suffix}"
        porter.write(trained, main, title)
        written = porter.load(trained, main, title)
        proof = prove(source, written, kinds.checker(to))
        slots, notes = _slots(porter, trained, main)
        done = Ported(
            source.kind, to, trained, proof, out, slots, (*trained.notes, *proof.notes, *notes)
        )
        if not proof.passed:
            return replace(done, out=None)
        _put_in_place(folder, out, done, whole=suffix != out.suffix)
    return done


def _check_finite(trained: Trained) -> None:
    for name, array in trained.params.items():
        if not np.isfinite(array).all():
            place = trained.places.get(name.rsplit("/", 1)[0], name)
            raise PortError(
                f"{name} ({place}) holds NaN or infinity, so that no port of it can be verified; "
                "port a network that has not diverged"
            )


def _slots(porter: Porter, trained: Trained, main: Path) -> tuple[str, list[str]]:
    """Whether the optimizer's state went along: it is read back and compared bit by bit."""
    if trained.slots is None:
        return "none", []
    given = Given(network=trained.network, rule=trained.rule)
    found = porter.read(main, given).trained.slots
    if found is None:
        return "left", ["the optimizer's state was left behind: this format has no place for it"]
    same = found.updates == trained.slots.updates and all(
        np.array_equal(found.values[slot][name].astype(array.dtype), array)
        for slot, arrays in trained.slots.values.items()
        for name, array in arrays.items()
    )
    if not same:
        raise PortError(
            f"the optimizer's state read back from {main.name} is not the source's; "
            "nothing was written: report this"
        )
    return "carried", []


def _check_place(out: Path, force: bool) -> None:
    if not force and (out.is_file() or (out.is_dir() and any(out.iterdir()))):
        raise PortError(f"{out} exists already; choose another --out, or replace it with --force")
    parent = out.absolute().parent
    while not parent.exists():
        parent = parent.parent
    if not os.access(parent, os.W_OK) or not parent.is_dir():
        raise StorageError(f"cannot write {out}: {parent} is not a folder you can write in")


@contextmanager
def _workplace(out: Path) -> Iterator[Path]:
    """An empty folder on the same disk, gone afterwards whatever happens."""
    parent = out.absolute().parent
    made = [folder for folder in (parent, *parent.parents) if not folder.exists()]
    done = False
    with files.storage(out):
        parent.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix=f".{out.name}.", suffix=".tmp", dir=parent))
    try:
        yield folder
        done = out.exists()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        for one in made if not done else []:
            one.rmdir()


def _put_in_place(folder: Path, out: Path, done: Ported, whole: bool) -> None:
    """Move what was written to where it was asked for, with the network and the report."""
    extra = {
        NETWORK: to_plain(done.trained.network),
        REPORT: done.as_dict() | {"places": dict(done.trained.places)},
    }
    stem = "" if whole else f"{out.stem}."
    with files.storage(out):
        for name, data in extra.items():
            (folder / f"{stem}{name}").write_text(json.dumps(data, indent=2) + "\n")
        for leftover in folder.glob("**/__pycache__"):
            shutil.rmtree(leftover)
        _open_to_others(folder)
        if whole:
            if out.is_dir():
                shutil.rmtree(out)
            os.replace(folder, out)
            return
        for path in sorted(folder.iterdir()):
            place = out.parent / path.name
            if place.is_dir():
                shutil.rmtree(place)
            os.replace(path, place)


def _open_to_others(folder: Path) -> None:
    """Give files and folders the rights that new ones have here; temporary ones are private."""
    mask = os.umask(0)
    os.umask(mask)
    for path in (folder, *folder.rglob("*")):
        path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)
