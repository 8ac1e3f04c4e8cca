"""The records of images in an `attack_result.pt` of BackdoorBench.

Facts: docs/import.md. Of each poisoned or triggered image the record has the path, relative to
where it was made, the label given and the original one; clean pixels are not stored.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from bdb.datasets.own import Fence
from bdb.errors import DataError, short
from bdb.imports.rows import Row, Rows

# What it calls data sets that bdb calls otherwise.
DATASETS = {"tiny": "tiny_imagenet"}
_PARTS = 3  # of a path that counts: bd_train_dataset/<original label>/<index>.png


def rows(record: Any, top: Path, where: str) -> Rows:
    """The images of `bd_train` or `bd_test` that are not clean.

    Covers are those that keep a label which no other image is given instead of its own: the record
    itself counts them as poison. So those of the target's class, and any where every class is a
    target, are taken for poison.

    Args:
        record: as read from the file.
        top: the folder of `attack_result.pt`, where the images lie.
        where: for messages.

    Raises:
        DataError: it is not of this form, or an image is missing.
    """
    try:
        entries: Mapping[Any, Any] = record["bd_data_container"]["data_dict"]
        indicator = np.asarray(record["poison_indicator"], dtype=np.float64).reshape(-1)
        order = np.asarray(record["original_index_array"], dtype=np.int64).reshape(-1)
        touched = [int(index) for index in order if indicator[index]]
        found = {int(index): entry for index, entry in entries.items()}
        labels = {index: _labels(found[index]) for index in touched}
        paths = {index: str(found[index]["path"]) for index in touched}
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        raise DataError(f"{where}: not as BackdoorBench records images ({short(error)})") from error
    fence = Fence(top)
    moved = {given for given, original in labels.values() if given != original}
    return Rows.of(
        where,
        [
            _row(fence.file(_tail(paths[index]), where), index, *labels[index], moved)
            for index in touched
        ],
        order.tolist(),
    )


def _labels(entry: Any) -> tuple[int, int]:
    given, original = entry["other_info"]
    return int(given), int(original)


def _row(path: Path, index: int, given: int, original: int, moved: set[int]) -> Row:
    is_cover = bool(moved) and given == original and given not in moved
    return Row(path, index, given, original, is_poison=not is_cover, is_cover=is_cover)


def _tail(path: str) -> str:
    """Of a path on another machine, what holds wherever the folder is put."""
    return str(PurePosixPath(*PurePosixPath(path.replace("\\", "/")).parts[-_PARTS:]))
