"""What is brought may mean harm: nothing is executed, one line, memory bounded."""

import io
import json
import os
import pickle
import struct
import subprocess
import sys
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save, save_file

from bdb import cli
from bdb.datasets.base import DataSpec
from bdb.errors import SuspectError
from bdb.scan import files


class Call:
    """Pickled, it is a call of a function when it is read."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


def state() -> dict[str, torch.Tensor]:
    return {"conv.weight": torch.randn(4, 3, 3, 3), "fc.weight": torch.randn(2, 4)}


def saved(value: object, **options: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(value, buffer, **options)
    return buffer.getvalue()


def archive(pickled: bytes, more: dict[str, bytes] | None = None, **options: Any) -> bytes:
    """A file of torch's form around any pickle."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **options) as made:
        for name, data in {"a/data.pkl": pickled, "a/version": b"3\n", **(more or {})}.items():
            made.writestr(name, data)
    return buffer.getvalue()


def tensors(header: object, data: bytes = b"") -> bytes:
    text = json.dumps(header).encode() if not isinstance(header, bytes) else header
    return struct.pack("<Q", len(text)) + text + data


def touch(path: str) -> str:
    return f"touch {path}"


MARK = "/tmp/bdb-scan-was-fooled"
EVIL = Call(os.system, touch(MARK))
SHELL = pickle.dumps(EVIL, protocol=2)
NESTED = b"\x80\x02" + b"(" * 3 + b"cbuiltins\nexec\nX\x04\x00\x00\x00passt\x94R."
LAUGHS = b"\x80\x02)" + b"2\x86" * 200 + b"."
DEEP = b"\x80\x02)" + b"\x85" * 100_000 + b"."
F32 = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}


def storage(numel: int, size: tuple[int, ...], stride: tuple[int, ...]) -> bytes:
    """A pickle of one tensor that may lie about what is stored of it."""

    class Stored:
        pass

    class Pickler(pickle.Pickler):
        def persistent_id(self, obj: object) -> Any:
            if isinstance(obj, Stored):
                return ("storage", torch.FloatStorage, "0", "cpu", numel)
            return None

    arguments = (Stored(), 0, size, stride, False, OrderedDict())
    buffer = io.BytesIO()
    Pickler(buffer, protocol=2).dump({"w": Call(torch._utils._rebuild_tensor_v2, *arguments)})
    return buffer.getvalue()


def bomb() -> bytes:
    return archive(b"\0" * 50_000_000, compression=zipfile.ZIP_DEFLATED)


def named_network(name: str) -> bytes:
    """A few weights that are said to be a network's, as BackdoorBench says it."""
    facts = {"model_name": name, "img_size": (32, 32, 3), "clean_data": "cifar10"}
    return saved(facts | {"model": state()})


def specified(network: dict[str, Any], **wrapper: Any) -> bytes:
    """A few weights with a specification of ours, as `bdb export` writes it."""
    data = DataSpec(
        dataset="x", classes=("a", "b"), shape=(3, 32, 32), mean=(0.5,) * 3, std=(0.5,) * 3
    )
    wrappers = [{"name": "inserted_module", "options": wrapper}] if wrapper else []
    spec = {"data": data.model_dump(mode="json"), "wrappers": wrappers, **network}
    return save(state(), {"about": json.dumps({"model": spec})})


CONVNET = {"architecture": "convnet", "fields": {"width": 1}}
LACKS = ["maps"]
READER = {"side": 3, "margin": 0, "width": 2, "depth": 2, "weight": 0.5}
HOSTILE: dict[str, tuple[bytes, str]] = {
    "a call in a bare pickle": (SHELL, "would call posix.system"),
    "a call in an archive": (archive(SHELL), "would call posix.system"),
    "a call in a file of old": (
        saved({"w": EVIL}, _use_new_zipfile_serialization=False),
        "would call posix.system",
    ),
    "a call in a new pickle": (saved({"w": EVIL}, pickle_protocol=4), "would call posix.system"),
    "a call within a call": (
        saved({"a": [{"b": (Call(getattr, EVIL, "x"),)}]}),
        "would call __builtin__.getattr, posix.system",
    ),
    "a call below marks": (archive(NESTED), "would call builtins.exec"),
    "a call in another member": (
        archive(pickle.dumps({}, 2), {"a/more.pkl": SHELL}), "would call posix.system",
    ),
    "eval": (archive(pickle.dumps(Call(eval, "1+1"), 2)), "would call __builtin__.eval"),
    "an import": (archive(b"\x80\x02csubprocess\nPopen\n."), "would call subprocess.Popen"),
    "torch.load": (archive(b"\x80\x02ctorch\nload\n."), "would call torch.load"),
    "by instance": (archive(b"(S'x'\niposix\nsystem\n."), "would call posix.system"),
    "a name made up": (archive(b"\x80\x04NN\x93."), "would call a name that it makes up"),
    "an extension": (archive(b"\x80\x02\x82\x07."), "would call extension 7"),
    "a persistent name": (archive(b"\x80\x02Px\n."), "would call persistent 'x'"),
    "laughs": (archive(LAUGHS), "a tuple within a tuple"),
    "depth": (archive(DEEP), "a tuple within a tuple"),
    "a long text": (archive(b"\x80\x02X\xff\xff\xff\x7f."), "a value of 2,147,483,647 bytes"),
    "a long number": (archive(b"\x80\x02\x8b\xff\xff\xff\x7f."), "a value of 2,147,483,647 bytes"),
    "an empty stack": (archive(b"\x80\x02R."), "a damaged pickle"),
    "an endless pickle": (archive(b"\x80\x02" + b"N0" * 500), "a damaged pickle"),
    "a bomb": (bomb(), "a compressed archive"),
    "something before the archive": (
        b"PK\x03\x04" + b"x" * 40 + archive(pickle.dumps({}, 2)), "before or behind it",
    ),
    "something behind the archive": (saved(state()) + b"#!/bin/sh", "before or behind it"),
    "two folders": (archive(pickle.dumps({}, 2), {"b/data/0": b""}), "more than one folder"),
    "a program": (archive(pickle.dumps({}, 2), {"a/constants.pkl": b"\x80\x02)."}), "TorchScript"),
    "half an archive": (saved(state())[:700], "damaged"),
    "half a file of old": (saved(state(), _use_new_zipfile_serialization=False)[:100], "damaged"),
    "a storage of a terabyte": (
        archive(storage(1 << 38, (1 << 38,), (1,)), {"a/data/0": b"\0" * 4}),
        "larger than the file",
    ),
    "a tensor of one number, often": (
        archive(storage(1, (1 << 20, 1 << 20), (0, 0)), {"a/data/0": b"\0" * 4}),
        "larger than what is stored",
    ),
    "a shape beyond its storage": (
        archive(storage(1, (1000,), (1,)), {"a/data/0": b"\0" * 4}), "damaged",
    ),
    "a whole model": (
        saved(torch.nn.Linear(2, 2)), "torch.nn.modules.linear.Linear; nothing of it was run",
    ),
    "a list": (saved([1, 2]), "it holds a list"),
    "no tensors": (saved({"epoch": 3}), "no tensors by name"),
    "NaN": (saved({"w": torch.tensor([1.0, torch.nan])}), "NaN or infinity"),
    "infinity in safetensors": (
        tensors({"w": F32}, struct.pack("<2f", 1, np.inf)), "NaN or infinity",
    ),
    "a header of a terabyte": (struct.pack("<Q", 1 << 40) + b"{}", "a header of 1,099,511,627,776"),
    "a header beyond the file": (struct.pack("<Q", 100) + b"{}", "a header of 100 bytes"),
    "a header that is none": (tensors(b"{" * 50), "damaged"),
    "a deep header": (tensors(b'{"a":' * 100_000), "damaged"),
    "a shape of a terabyte": (tensors({"w": F32 | {"shape": [1 << 38]}}, b"\0" * 8), "damaged"),
    "offsets beyond the file": (tensors({"w": F32 | {"data_offsets": [0, 99]}}), "damaged"),
    "an empty file": (b"", "damaged"),
    "a text": (b"hello, world; this is no model", "neither safetensors nor"),
    "a network of gigabytes by name": (
        named_network("vit_h_14"), "a network of 630,767,362 weights, of which the file has 116",
    ),
    "one whose shapes are computed": (named_network("regnet_y_128gf"), "a network of 63"),
    "one by its specification": (
        specified({"architecture": "preactresnet18", "fields": {"width": 512}}), "a network of 71",
    ),
    "one by a field": (
        specified({"architecture": "foreign", "fields": {"network": "vit_h_14", "lacks": LACKS}}),
        "a network of 63",
    ),
    "a wide wrapper": (specified(CONVNET, **READER | {"width": 30_000}), "a network of 900"),
    "a deep wrapper": (specified(CONVNET, **READER | {"depth": 10**6}), "depth 1000000 is not"),
    "a pickle of a dict": (pickle.dumps({"w": 1}), "that torch.save has not written"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_one_line(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any
) -> None:
    data, message = HOSTILE[name]
    path = tmp_path / "model.pt"
    path.write_bytes(data)
    monkeypatch.setattr(sys, "argv", ["bdb", "scan", str(path)])
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as left:
        cli.main()
    out, err = capfd.readouterr()
    assert left.value.code == 2
    assert not out
    assert message in err
    assert len(err.splitlines()) == 1
    assert err.startswith(f"bdb: {path}: ")
    assert len(err) < 1000
    assert list(tmp_path.iterdir()) == [path]
    assert not Path(MARK).exists()


def test_an_archive_whose_files_overlap_is_refused(tmp_path: Path) -> None:
    data = bytearray(archive(pickle.dumps({}, 2), {"a/data/0": b"x" * 100}))
    entry = data.rindex(b"PK\x01\x02")
    data[entry + 20 : entry + 28] = struct.pack("<II", 1 << 20, 1 << 20)
    (tmp_path / "model.pt").write_bytes(data)
    with pytest.raises(SuspectError, match="larger than it"):
        files.read(tmp_path / "model.pt")


def test_two_files_of_one_name_are_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "model.pt", "w") as made:
        made.writestr("a/data.pkl", pickle.dumps({}, 2))
        with pytest.warns(UserWarning, match="Duplicate name"):
            made.writestr("a/data.pkl", SHELL)
    with pytest.raises(SuspectError, match="two of one name"):
        files.read(tmp_path / "model.pt")


# Reads every file of a folder, and says how much memory the greediest took, in KiB.
GREEDIEST = """
import sys
from pathlib import Path
from bdb.errors import SuspectError
from bdb.models import foreign_nets
from bdb.scan import files, suspects

def peak():
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])

foreign_nets.of_torchvision()
taken = []
for path in Path(sys.argv[1]).iterdir():
    Path("/proc/self/clear_refs").write_text("5")  # the peak is now what is held
    before = peak()
    try:
        suspects.load(files.read(path), suspects.Told())
    except SuspectError:
        taken.append(peak() - before)
print(len(taken), max(taken))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="the peak is Linux's")
def test_no_hostile_file_takes_memory(tmp_path: Path) -> None:
    for name, (data, _) in HOSTILE.items():
        (tmp_path / name).write_bytes(data)
    command = [sys.executable, "-c", GREEDIEST, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    refused, most = map(int, done.stdout.split())
    assert refused == len(HOSTILE)
    assert most < 100_000


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, message in {
        tmp_path / "pipe": "not a file",
        Path("/dev/zero"): "not a file",
        tmp_path / "none": "No such file",
        tmp_path: "a folder without model.safetensors",
    }.items():
        with pytest.raises(SuspectError, match=message):
            files.read(path)


@pytest.mark.parametrize(
    "config", [b"[" * 200_000, b"{", b"[]", b"\xff", b'{"a": 1' + b" " * 2**21]
)
def test_a_config_that_means_harm(tmp_path: Path, config: bytes) -> None:
    save_file(state(), tmp_path / "model.safetensors")
    (tmp_path / "config.json").write_bytes(config)
    with pytest.raises(SuspectError) as caught:
        files.read(tmp_path)
    assert len(str(caught.value)) < 500


def test_honest_files_are_read_whatever_their_form(tmp_path: Path) -> None:
    weights = state()
    parallel = {f"module.{name}": tensor for name, tensor in weights.items()}
    for value in (
        weights,
        OrderedDict(parallel),
        {"state_dict": weights, "epoch": 3},
        {"model": {k: torch.nn.Parameter(v) for k, v in weights.items()}, "optimizer": {"lr": 0.1}},
    ):
        for options in ({}, {"_use_new_zipfile_serialization": False}):
            path = tmp_path / "model.bin"
            path.write_bytes(saved(value, **options))  # type: ignore[arg-type]
            found = files.read(path)
            assert found.state.keys() == weights.keys()
            assert all(torch.equal(found.state[name], weights[name]) for name in weights)
    save_file(weights, tmp_path / "model.bin")
    assert files.read(tmp_path / "model.bin").state.keys() == weights.keys()


def test_the_record_of_backdoorbench_is_read(tmp_path: Path) -> None:
    record = {
        "bd_data_container": {"data_dict": {np.int64(3): {"path": "./record/x/3.png"}}},
        "poison_indicator": np.zeros(10),
        "original_index_array": np.arange(10),
    }
    result = {
        "model_name": "preactresnet18",
        "num_classes": 10,
        "model": OrderedDict(state()),
        "data_path": "./data/cifar10",
        "img_size": (32, 32, 3),
        "clean_data": "cifar10",
        "bd_train": None,
        "bd_test": record,
    }
    for options in ({}, {"_use_new_zipfile_serialization": False}):
        path = tmp_path / "attack_result.pt"
        data = saved(result, **options)
        path.write_bytes(data.replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
                         if options else data)  # fmt: skip
        facts = files.read(path).facts
        assert facts["clean_data"] == "cifar10"
        assert tuple(facts["img_size"]) == (32, 32, 3)
        assert "bd_test" not in facts
