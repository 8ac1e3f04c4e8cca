from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from bdb import artifacts
from bdb.errors import ArtifactError


def test_tensors_and_metadata_round_trip(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "x.safetensors"
    tensors = {
        "a": torch.arange(6).view(2, 3),
        "empty": torch.empty(0, 3),
        "flag": torch.ones(2) > 0,
    }
    artifacts.write_tensors(path, tensors, {"spec": {"x": [1, 2]}})
    read, metadata = artifacts.read_tensors(path)
    assert metadata == {"spec": {"x": [1, 2]}}
    assert artifacts.read_metadata(path) == metadata
    for name, tensor in tensors.items():
        assert torch.equal(read[name], tensor)
        assert read[name].dtype == tensor.dtype
    assert [child.name for child in path.parent.iterdir()] == ["x.safetensors"]


def test_files_are_as_readable_as_any_other(tmp_path: Path) -> None:
    (tmp_path / "plain").touch()
    artifacts.write_tensors(tmp_path / "x", {"a": torch.ones(2)})
    assert (tmp_path / "x").stat().st_mode == (tmp_path / "plain").stat().st_mode


def test_same_content_same_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        artifacts.write_tensors(
            tmp_path / name, {"x": torch.ones(3), "y": torch.zeros(2)}, {"k": 1}
        )
        artifacts.write_table(tmp_path / f"{name}.parquet", pd.DataFrame({"x": [1, 2]}))
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "a.parquet").read_bytes() == (tmp_path / "b.parquet").read_bytes()


@pytest.mark.parametrize("where", [0.02, 0.5, 0.99])
def test_a_flipped_byte_is_found(tmp_path: Path, where: float) -> None:
    path = tmp_path / "x.safetensors"
    artifacts.write_tensors(path, {"a": torch.rand(100)}, {"spec": "here"})
    content = bytearray(path.read_bytes())
    content[int(where * len(content))] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"x\.safetensors"):
        artifacts.read_tensors(path)


def test_a_truncated_file_is_found(tmp_path: Path) -> None:
    paths = tmp_path / "x.safetensors", tmp_path / "x.parquet", tmp_path / "x.json"
    artifacts.write_tensors(paths[0], {"a": torch.rand(100)})
    artifacts.write_table(paths[1], pd.DataFrame({"x": np.arange(1000)}))
    artifacts.write_json(paths[2], {"x": 1})
    readers = (artifacts.read_tensors, artifacts.read_table, artifacts.read_json)
    for path, reader in zip(paths, readers, strict=True):
        path.write_bytes(path.read_bytes()[:-5])
        with pytest.raises(ArtifactError, match=path.name):
            reader(path)
        path.unlink()
        with pytest.raises(ArtifactError, match="no such file"):
            reader(path)


def test_a_damaged_table_is_found(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    artifacts.write_table(path, pd.DataFrame({"x": np.random.default_rng(0).random(1000)}))
    content = bytearray(path.read_bytes())
    content[200] ^= 0xFF
    path.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"x\.parquet"):
        artifacts.read_table(path)


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    artifacts.write_json(path, {"x": 1})
    with pytest.raises(ValueError, match="Out of range"):
        artifacts.write_json(path, {"x": float("nan")})
    with pytest.raises(TypeError):
        artifacts.write_json(path, {"x": object()})
    assert artifacts.read_json(path) == {"x": 1}
    assert [child.name for child in tmp_path.iterdir()] == ["x.json"]


def test_a_tensor_of_another_shape_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"'a' is torch\.float32 with 1 dimensions"):
        artifacts.require({"a": torch.ones(2)}, tmp_path / "f", a=(torch.uint8, 4))
    with pytest.raises(ArtifactError, match="no tensor 'b'"):
        artifacts.require({}, tmp_path / "f", b=(torch.uint8, 4))
