"""prepare: raw files to one safetensors per split, checked."""

from __future__ import annotations

from dataclasses import replace
from typing import cast

import torch

from bdb import artifacts, layout
from bdb.console import say
from bdb.datasets import split
from bdb.datasets.base import Dataset, DataSpec, ImageSet, RawData
from bdb.errors import DataError
from bdb.jobs.jobs import Jobs
from bdb.provenance import Provenance
from bdb.training import seeds


def run(jobs: Jobs, name: str) -> None:
    """Read a data set and write both splits.

    Raises:
        DataError: it is missing, damaged, or not the set that it should be.
    """
    dataset = cast(Dataset, jobs.settings.make("dataset", name))
    provenance = Provenance(jobs.prepare(name), torch.device("cpu"))
    raw = dataset.read(layout.raw())
    _check(name, raw, dataset)
    raw = replace(raw, train=_share(name, raw.train, dataset.train_share))
    _check_classes(name, raw)
    data = _describe(name, raw, dataset)
    for part, images in (("train", raw.train), ("test", raw.test)):
        artifacts.write_tensors(
            layout.prepared(name, part),
            {"images": images.images, "labels": images.labels},
            {"data": data.model_dump(mode="json"), "origin": provenance.origin()},
        )
        say(f"{name}: {len(images)} {part} images of {data.num_classes} classes")
    provenance.write(layout.prepared(name, "train").parent)


def _share(name: str, train: ImageSet, share: float) -> ImageSet:
    """A class-balanced share of the training set, the same whatever the run."""
    if share == 1:
        return train
    rng = seeds.numpy_generator(0, "prepare", name)
    mask = torch.from_numpy(split.part_mask(train.labels.numpy(), share, rng))
    return ImageSet.whole(train.images[mask], train.labels[mask])


def _check(name: str, raw: RawData, dataset: Dataset) -> None:
    counts = tuple(torch.bincount(raw.train.labels, minlength=len(raw.classes)).tolist())
    if len(raw.classes) < 2:
        raise DataError(f"{name}: has {len(raw.classes)} class; at least two are needed")
    expected = sum(dataset.class_counts) if dataset.class_counts else dataset.train_count
    if counts != (dataset.class_counts or counts) or expected not in (None, sum(counts)):
        raise DataError(
            f"{name}: {sum(counts)} training images, not {expected} as published; "
            "unpack the raw files anew"
        )
    if dataset.test_count is not None and len(raw.test) != dataset.test_count:
        raise DataError(
            f"{name}: {len(raw.test)} test images, not {dataset.test_count} as published; "
            "unpack the raw files anew"
        )


def _check_classes(name: str, raw: RawData) -> None:
    for part, images in (("training", raw.train), ("test", raw.test)):
        missing = set(range(len(raw.classes))) - set(images.labels.unique().tolist())
        if missing:
            empty = raw.classes[min(missing)]
            raise DataError(f"{name}: class {empty!r} has no {part} images")


def _describe(name: str, raw: RawData, dataset: Dataset) -> DataSpec:
    mean, std = dataset.mean, dataset.std
    if mean is None or std is None:
        mean, std = _statistics(raw.train)
    channels, height, width = raw.train.images.shape[1:]
    return DataSpec(
        dataset=name,
        classes=raw.classes,
        shape=(channels, height, width),
        mean=mean,
        std=std,
        augmentation=dataset.augmentation,
    )


def _statistics(images: ImageSet) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel in [0, 1], to four digits."""
    pixels = images.images.transpose(0, 1).flatten(1)
    counts = torch.stack([torch.bincount(channel, minlength=256) for channel in pixels]).double()
    levels = torch.arange(256, dtype=torch.float64) / 255
    weights = counts / counts.sum(1, keepdim=True)
    mean = (weights * levels).sum(1)
    std = ((weights * (levels - mean[:, None]) ** 2).sum(1)).sqrt().clamp_min(1e-3)
    return tuple(round(m, 4) for m in mean.tolist()), tuple(round(s, 4) for s in std.tolist())
