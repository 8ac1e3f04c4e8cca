"""A run's data as PNG files, with a CSV that says what each of them is."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import torch
from PIL import Image
from torch import Tensor

from bdb import __version__, artifacts
from bdb.datasets.base import ImageSet
from bdb.export.targets import free, known
from bdb.stages.inputs import RunInputs


def export(text: str, folder: Path) -> str:
    """Write the training set as given, the test set, and the triggered test set.

    `train.csv`, `test.csv` and `triggered/triggered.csv` say of each image its path from the CSV,
    its label (the name of the class that is given; of a triggered image the target's), its index,
    the given and the true label as numbers, and the flags; `about.json` says the rest.

    Args:
        text: the run.
        folder: to be made.

    Raises:
        ParamsError: there is no such run, or the folder is there already.
        ArtifactError: the run has not been made.
    """
    jobs, run = known(text)
    free(folder)
    inputs = RunInputs(jobs, run)
    given, test, marked = inputs.given_train_set, inputs.test, inputs.triggered
    targeted = ImageSet(marked.images, marked.targets, marked.ids)
    covers = given.ids[:0] if run.is_clean else inputs.poison.plan.ids[inputs.poison.plan.is_cross]
    classes = inputs.data.classes
    flags = {"is_poison": inputs.is_poison, "is_cover": torch.isin(given.ids, covers)}
    _write(folder / "train.csv", given, inputs.train_set.labels, classes, **flags)
    _write(folder / "test.csv", test, test.labels, classes)
    _write(folder / "triggered/triggered.csv", targeted, marked.labels, classes,
           is_source=marked.is_source)  # fmt: skip
    about = {"run": str(run), "data": inputs.data.model_dump(mode="json"), "bdb": __version__}
    fields = inputs.attack.model_dump(mode="json")
    artifacts.write_json(folder / "about.json", about | {"attack": fields})
    return (
        f"{folder}: {len(given)} training images, of which {int(inputs.is_poison.sum())} are "
        f"poison, {len(test)} for testing, and {len(targeted)} triggered"
    )


def _write(
    table: Path, images: ImageSet, labels: Tensor, classes: tuple[str, ...], **flags: Tensor
) -> None:
    """A PNG of every image, in a folder named as the table, and then the table."""
    folder = table.with_suffix("")
    folder.mkdir(parents=True)
    names = [f"{index:06d}.png" for index in images.ids.tolist()]
    for name, pixels in zip(names, images.images, strict=True):
        picture(pixels).save(folder / name)
    columns = {
        "path": [f"{folder.name}/{name}" for name in names],
        "label": [classes[label] for label in images.labels.tolist()],
        "index": images.ids,
        "given_label": images.labels,
        "true_label": labels,
        **flags,
    }
    artifacts.write_text(table, pd.DataFrame(columns).to_csv(index=False, lineterminator="\n"))


def picture(pixels: Tensor) -> Image.Image:
    """uint8, C x H x W, of one channel or three, as Pillow has it."""
    rows = pixels.cpu().permute(1, 2, 0).contiguous().numpy()
    return Image.fromarray(rows[:, :, 0] if rows.shape[2] == 1 else rows)
