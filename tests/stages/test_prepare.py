from typing import Any

import torch

from bdb import artifacts


def prepared(project: Any, share: float) -> tuple[torch.Tensor, torch.Tensor]:
    project.params["datasets"] = {"digits": {"train_share": share}}
    project.save()
    done = project.bdb("prepare", "digits")
    assert done.returncode == 0, done.stderr
    tensors, _ = artifacts.read_tensors(
        project.folder / "data" / "prepared" / "digits" / "train.safetensors"
    )
    return tensors["images"], tensors["labels"]


def test_a_share_of_the_training_images_is_balanced_and_the_same_every_time(project: Any) -> None:
    whole, labels = prepared(project, 1.0)
    part, kept = prepared(project, 0.2)
    assert len(part) == round(0.2 * len(whole))
    expected = 0.2 * torch.bincount(labels)
    assert (torch.bincount(kept) - expected).abs().max() < 1
    known = {image.numpy().tobytes() for image in whole}
    assert all(image.numpy().tobytes() in known for image in part)
    (project.folder / "data" / "prepared" / "digits" / "train.safetensors").unlink()
    again, _ = prepared(project, 0.2)
    assert torch.equal(part, again)


def test_a_share_that_leaves_a_class_empty_is_refused(project: Any) -> None:
    project.params["datasets"] = {"digits": {"train_share": 0.005}}
    project.save()
    done = project.bdb("prepare", "digits")
    assert done.returncode == 2
    assert "has no training images" in done.stderr
    assert "Traceback" not in done.stderr
