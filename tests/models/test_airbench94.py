"""The whitening convolution is set from the images that a victim is given, once, and saved."""

from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn.functional import conv2d

from bdb.datasets.base import DataSpec
from bdb.errors import ParamsError
from bdb.models import base
from bdb.models.airbench94 import Airbench
from bdb.models.base import ModelSpec
from bdb.testing import digits
from bdb.training.loop import to_float


def data(*shape: int) -> DataSpec:
    return DataSpec(
        dataset="any", classes=tuple("abcdefghij"), shape=shape, mean=(0.3,) * 3, std=(0.35,) * 3
    )


def build(spec: DataSpec) -> Airbench:
    fields = {"width_factor": 0.0625}
    model = base.build(ModelSpec(architecture="airbench94", fields=fields, data=spec), seed=0)
    assert isinstance(model, Airbench)
    return model


@pytest.fixture(scope="module")
def images() -> Tensor:
    """Digits in three different colours: patches that have a full covariance."""
    generator = torch.Generator().manual_seed(0)
    grey = digits().train.images[:300].float()
    noise = torch.randint(0, 60, grey.shape, generator=generator)
    return (grey * torch.tensor([0.7, 0.5, 0.3]).view(1, 3, 1, 1) + noise).to(torch.uint8)


def test_its_outputs_on_patches_are_white(images: Tensor) -> None:
    model = build(data(3, 32, 32))
    model.calibrate(images)
    weight = model.whitening.weight
    assert weight.shape == (24, 3, 2, 2)
    assert torch.equal(weight[:12], -weight[12:])
    out = conv2d(model.normalize(to_float(images)), weight[:12]).transpose(0, 1).flatten(1)
    moments = out @ out.T / out.shape[1]
    expected = torch.eye(12)
    assert torch.allclose(moments, expected, atol=0.05)


def test_it_looks_once(images: Tensor) -> None:
    model = build(data(3, 32, 32))
    fresh = model.whitening.weight.clone()
    model.calibrate(images)
    first = model.whitening.weight.clone()
    assert not torch.equal(first, fresh)
    model.calibrate(255 - images // 2)
    assert torch.equal(model.whitening.weight, first)


def test_it_is_saved_and_restored(images: Tensor, tmp_path: Path) -> None:
    model = build(data(3, 32, 32))
    model.calibrate(images)
    base.save(tmp_path / "model.safetensors", model)
    loaded = base.load(tmp_path / "model.safetensors")
    assert isinstance(loaded, Airbench)
    assert torch.equal(loaded.whitening.weight, model.whitening.weight)
    loaded.calibrate(images[:10])
    assert torch.equal(loaded.whitening.weight, model.whitening.weight)


def test_what_is_frozen() -> None:
    model = build(data(3, 32, 32))
    frozen = {name for name, each in model.named_parameters() if not each.requires_grad}
    norms = {f"group{g}.{i}.weight" for g in (1, 2, 3) for i in (2, 5)}
    assert frozen == {"whitening.weight", *norms}


@pytest.mark.parametrize("side", [15, 24, 64])
def test_other_sizes(side: int) -> None:
    model = build(data(3, side, side + 3)).eval()
    assert model(torch.rand(2, 3, side, side + 3)).shape == (2, 10)


def test_images_that_are_too_small_are_one_line() -> None:
    with pytest.raises(ParamsError, match="images of 8 x 8 are too small: at least 15"):
        build(data(3, 8, 8))
