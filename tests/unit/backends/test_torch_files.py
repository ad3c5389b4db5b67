"""PyTorch's files that are broken or hostile: refused in one sentence, and nothing of them runs."""

from __future__ import annotations

import io
import json
import pickle
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from triptych.backends._torch.porting import PORTER
from triptych.backends.carried import Given
from triptych.errors import PortError

GIVEN = Given(shape=(3,), make=lambda: nn.Linear(3, 2), where="f.py:m")


class Evil:
    """What runs when it is unpickled."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> Any:
        return (Path.touch, (self.mark,))


def refused(path: Path, message: str) -> None:
    with pytest.raises(PortError, match=message) as caught:
        PORTER.read(path, GIVEN)
    assert len(str(caught.value).splitlines()) == 1
    assert str(path) in str(caught.value)


def saved(path: Path, **more: Any) -> Path:
    torch.save({"model": nn.Linear(3, 2).state_dict(), **more}, path)
    return path


def repacked(
    path: Path, change: Callable[[str, bytes], tuple[str, bytes] | None], **how: Any
) -> Path:
    """Write an archive again with its entries changed."""
    with zipfile.ZipFile(path) as archive:
        entries = [(name, archive.read(name)) for name in archive.namelist()]
    with zipfile.ZipFile(path, "w", how.get("compression", zipfile.ZIP_STORED)) as archive:
        for name, content in entries:
            changed = change(name, content)
            if changed is not None:
                archive.writestr(*changed)
    return path


def exported(path: Path) -> Path:
    torch.export.save(torch.export.export(nn.Linear(3, 2), (torch.ones(2, 3),)), path)
    return path


def edited(path: Path, part: str, change: Callable[[Any], None]) -> Path:
    """Change the JSON of one part of a program."""

    def edit(name: str, content: bytes) -> tuple[str, bytes]:
        if not name.endswith(part):
            return name, content
        data = json.loads(content)
        change(data)
        return name, json.dumps(data).encode()

    return repacked(path, edit)


# --- what torch.save writes ----------------------------------------------------------------------


def test_pickled_code_is_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    refused(saved(tmp_path / "evil.pt", extra=Evil(mark)), "holds code or pickled objects")
    (tmp_path / "raw.pt").write_bytes(pickle.dumps(Evil(mark)))
    refused(tmp_path / "raw.pt", "no whole archive")
    torch.save(Evil(mark), tmp_path / "old.pth", _use_new_zipfile_serialization=False)
    refused(tmp_path / "old.pth", "no whole archive")
    torch.save(nn.Linear(3, 2), tmp_path / "module.bin")
    refused(tmp_path / "module.bin", r"torch.nn.modules.linear.Linear.*state_dict\(\)")
    assert not mark.exists()


def test_code_in_the_optimizers_file_is_not_run(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    save_file(nn.Linear(3, 2).state_dict(), tmp_path / "net.safetensors")
    torch.save(Evil(tmp_path / "ran"), tmp_path / "net.optimizer.pt")
    with pytest.raises(PortError, match=r"net.optimizer.pt holds code"):
        PORTER.read(tmp_path / "net.safetensors", GIVEN)
    assert not (tmp_path / "ran").exists()


def test_scripts_are_refused(tmp_path: Path) -> None:
    torch.jit.trace(nn.Linear(3, 2), torch.ones(1, 3)).save(str(tmp_path / "script.pt"))
    refused(tmp_path / "script.pt", "TorchScript")


def test_broken_archives_are_refused(tmp_path: Path) -> None:
    whole = saved(tmp_path / "whole.pt").read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 3):
        (tmp_path / "cut.pt").write_bytes(whole[:length])
        refused(tmp_path / "cut.pt", "no whole archive")
    torch.save({"weight": torch.full((2, 3), 1.5), "bias": torch.ones(2)}, tmp_path / "bent.pt")
    held = (tmp_path / "bent.pt").read_bytes()
    (tmp_path / "bent.pt").write_bytes(held.replace(struct.pack("<f", 1.5), struct.pack("<f", 1.6)))
    refused(tmp_path / "bent.pt", "checksum")


def test_archives_unlike_pytorchs_are_refused(tmp_path: Path) -> None:
    same = lambda name, content: (name, content)  # noqa: E731
    path = repacked(saved(tmp_path / "zip.pt"), same, compression=zipfile.ZIP_DEFLATED)
    refused(path, "is compressed")
    climbs = lambda name, content: (name.replace("byteorder", "../../up"), content)  # noqa: E731
    refused(repacked(saved(tmp_path / "up.pt"), climbs), "climbs out")
    bomb = tmp_path / "bomb.pt"
    with zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", b"\0" * 50_000_000)
    refused(bomb, "is compressed|announces more")
    memory = lambda name, content: (  # noqa: E731
        (name, b"\x80\x02cbuiltins\nbytearray\nI1000000000\n\x85R.") if name.endswith(".pkl")
        else (name, content)
    )  # fmt: skip
    refused(repacked(saved(tmp_path / "memory.pt"), memory), "memory")


def test_arrays_must_be_what_they_announce(tmp_path: Path) -> None:
    good = nn.Linear(3, 2).state_dict()
    wide = {"weight": torch.zeros(1).expand(100_000, 100_000)}
    meta = {"weight": torch.zeros(2, 3, device="meta")}
    sparse = {"weight": torch.zeros(2, 3).to_sparse()}
    wrong = {
        "more numbers than the file": wide,
        "no plain array|can't be read": meta,
        "no plain array of": sparse,
        "holds NaN or infinity": good | {"bias": torch.tensor([1.0, float("inf")])},
        "real numbers": good | {"bias": torch.ones(2, dtype=torch.complex64)},
        "no arrays by name": {"epoch": 3},
    }
    for message, arrays in wrong.items():
        torch.save(arrays, tmp_path / "net.pt")
        refused(tmp_path / "net.pt", message)
    torch.save([1, 2], tmp_path / "list.pt")
    refused(tmp_path / "list.pt", "holds a list")


def test_safetensors_with_wrong_headers_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.safetensors"
    header = json.dumps({"weight": {"dtype": "F32", "shape": [2, 3], "data_offsets": [0, 24]}})
    big = {"weight": {"dtype": "F32", "shape": [50_000, 50_000], "data_offsets": [0, 10**10]}}
    contents = {
        "10 GB": struct.pack("<Q", 10**10) + b"{}",
        "short": struct.pack("<Q", len(header)) + header.encode() + b"\0" * 10,
        "wide": struct.pack("<Q", len(json.dumps(big))) + json.dumps(big).encode(),
        "text": struct.pack("<Q", 5) + b"hello",
        "empty": b"",
    }
    for content in contents.values():
        path.write_bytes(content)
        refused(path, "no whole safetensors")


def test_what_our_own_files_say_is_read_strictly(tmp_path: Path) -> None:
    nodes = [{"name": "input", "kind": "input", "options": {}, "inputs": [], "shares": None}]
    for said in ("{", "[]", json.dumps({"network": 3}), json.dumps({"network": {"nodes": nodes}})):
        path = saved(tmp_path / "net.pt", triptych=said)
        with pytest.raises(PortError, match="says about its network"):
            PORTER.read(path, Given())


# --- exported programs ---------------------------------------------------------------------------


def test_pickles_in_programs_are_not_loaded(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    buffer = io.BytesIO()
    torch.save(Evil(mark), buffer)

    def sample(name: str, content: bytes) -> tuple[str, bytes]:
        return name, buffer.getvalue() if "sample_inputs" in name else content

    refused(repacked(exported(tmp_path / "a.pt2"), sample), "sample inputs hold code")

    def pickled(name: str, content: bytes) -> tuple[str, bytes]:
        return name, buffer.getvalue() if name.endswith("weight_0") else content

    def say(config: Any) -> None:
        config["config"]["weight"]["use_pickle"] = True

    path = edited(repacked(exported(tmp_path / "b.pt2"), pickled), "weights_config.json", say)
    refused(path, "weight is a pickled object")

    def add(config: Any) -> None:
        config["config"]["x"] = {"path_name": "opaque_obj_0", "is_param": False, "use_pickle": True,
                                 "tensor_meta": None}  # fmt: skip

    refused(edited(exported(tmp_path / "c.pt2"), "constants_config.json", add), "x is a pickled")
    assert not mark.exists()


def test_text_in_programs_is_not_evaluated(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    code = f"__import__('pathlib').Path({str(mark)!r}).touch()"
    size = {"as_expr": {"expr_str": code, "hint": {"as_int": 2}}}

    def expression(program: Any) -> None:
        next(iter(program["graph_module"]["graph"]["tensor_values"].values()))["sizes"][0] = size

    refused(edited(exported(tmp_path / "a.pt2"), "models/model.json", expression), "not evaluated")

    def operation(program: Any) -> None:
        program["graph_module"]["graph"]["nodes"][0]["target"] = "torch.hub.load"

    refused(edited(exported(tmp_path / "b.pt2"), "models/model.json", operation), "torch.hub.load")

    def tree(program: Any) -> None:
        spec = {"type": "collections.defaultdict", "context": "{}", "children_spec": []}
        text = json.dumps([1, spec])
        program["graph_module"]["module_call_graph"][0]["signature"]["in_spec"] = text

    refused(edited(exported(tmp_path / "c.pt2"), "models/model.json", tree), "plain tuples")

    def guards(program: Any) -> None:
        program["guards_code"] = [code]

    path = edited(exported(tmp_path / "d.pt2"), "models/model.json", guards)
    assert PORTER.read(path, Given()).trained.network.parameter_count == 8  # left out, not run
    assert not mark.exists()


def test_programs_with_other_parts_are_refused(tmp_path: Path) -> None:
    def compiled(name: str, content: bytes) -> tuple[str, bytes]:
        return name.replace("byteorder", "data/aotinductor/model/x.so"), content

    refused(repacked(exported(tmp_path / "a.pt2"), compiled), "or code: not read")
    headless = lambda name, content: None if "model.json" in name else (name, content)  # noqa: E731
    refused(repacked(exported(tmp_path / "b.pt2"), headless), "lacks models/model.json")

    def wide(config: Any) -> None:
        config["config"]["weight"]["tensor_meta"]["sizes"] = [{"as_int": 10**6}, {"as_int": 10**4}]

    path = edited(exported(tmp_path / "c.pt2"), "weights_config.json", wide)
    refused(path, r"announces 10,000,000,000 numbers")
    whole = exported(tmp_path / "d.pt2").read_bytes()
    (tmp_path / "d.pt2").write_bytes(whole[: len(whole) // 2])
    refused(tmp_path / "d.pt2", "no whole archive")


def test_a_program_under_another_name_is_a_program(tmp_path: Path) -> None:
    exported(tmp_path / "net.pt2").rename(tmp_path / "net.pt")
    assert PORTER.read(tmp_path / "net.pt", Given()).trained.network.parameter_count == 8
