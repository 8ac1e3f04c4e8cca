from pathlib import Path

import pytest
import torch

from bdb import artifacts
from bdb.defenses import features
from bdb.errors import ArtifactError
from bdb.testing import Lab
from bdb.training import inference


def test_they_are_what_the_model_says(badnets: Lab) -> None:
    for found, images in (
        (badnets.features.train, badnets.train_set.images),
        (badnets.features.clean, badnets.clean_set.images),
    ):
        assert torch.equal(found.penultimate, inference.features(badnets.model, images))
        torch.testing.assert_close(found.logits, inference.logits(badnets.model, images))
        assert found.penultimate.dtype == found.logits.dtype == torch.float32


def test_a_file_gives_them_back(badnets: Lab, tmp_path: Path) -> None:
    path = tmp_path / "features.safetensors"
    features.save(path, badnets.features, origin={"run": "here"})
    loaded = features.load(path)
    for mine, read in (
        (badnets.features.train, loaded.train),
        (badnets.features.clean, loaded.clean),
    ):
        assert torch.equal(mine.penultimate, read.penultimate)
        assert torch.equal(mine.logits, read.logits)


def test_the_file_holds_features_and_no_more(badnets: Lab, tmp_path: Path) -> None:
    path = tmp_path / "features.safetensors"
    features.save(path, badnets.features)
    names = {"train.penultimate", "train.logits", "clean.penultimate", "clean.logits"}
    assert artifacts.read_tensors(path)[0].keys() == names


def test_a_file_of_another_form_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "features.safetensors"
    artifacts.write_tensors(path, {"train.penultimate": torch.zeros(3, 2)})
    with pytest.raises(ArtifactError, match=r"features\.safetensors: no tensor 'train\.logits'"):
        features.load(path)


def test_without_clean_images_there_are_no_features_of_them(badnets: Lab) -> None:
    found = features.extract(badnets.model, badnets.clean_set.images[:0])
    assert found.penultimate.shape == (0, badnets.model.head.in_features)
    assert found.logits.shape == (0, badnets.model.head.out_features)
