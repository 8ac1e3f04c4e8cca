"""The user's own images in Parquet, as data sets of Hugging Face are kept."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field

from bdb.datasets.own import Fence, OwnImages, Table, named, parts
from bdb.datasets.raw_files import Source, reason
from bdb.errors import DataError, short
from bdb.registry import register

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_ROWS = 4  # held at a time, beside the page that they come from
_BUFFER = 1 << 20  # bytes: without one, a column of a row group is read whole


@register("parquet")
class Parquet(OwnImages):
    """Your own PNG and JPEG images within Parquet, as Hugging Face lays them out.

    One column holds the images: their bytes, or structs of `bytes` and `path`; another the labels,
    text or integers, whose names are in the file's metadata if `datasets` wrote it. Files may be
    larger than memory, but for their row groups; rows count from 0.
    """

    path: str = Field(
        "parquet",
        min_length=1,
        description="a file, or a folder of train*.parquet and test*.parquet, from the raw data's "
        "root",
    )
    image_column: str = Field(
        "", description="column of the images; if empty, the only one that can be"
    )
    label_column: str = Field("label", min_length=1, description="column of the labels")

    def tables(self, top: Path) -> tuple[Table, Table | None]:
        """Read the labels; images are in the order of the rows.

        Raises:
            DataError: a file or column will not do; the message names it.
        """
        train, test = parts(top, ".parquet")
        return self._table(train), self._table(test) if test else None

    def _table(self, files: list[Path]) -> Table:
        where = f"{str(files[0])!r}"
        labels = [label for file in files for label in self._labels(file)]
        names = self._names(files[0])
        if names is None:
            return Table(where, named(labels, where), self._images(files))
        wrong = [label for label in labels if label not in range(len(names))]
        if wrong:
            raise DataError(
                f"{where}: label {short(wrong[0])} is none of its {len(names)} classes; leave "
                "rows without a label out"
            )
        shown = named(names, where)
        return Table(where, [shown[label] for label in labels], self._images(files), tuple(shown))

    def _labels(self, path: Path) -> list[Any]:
        with _opened(path) as file:
            _require(path, file.schema_arrow, self.label_column, "label_column")
            labels: list[Any] = file.read([self.label_column]).column(0).to_pylist()
            return labels

    def _names(self, path: Path) -> tuple[str, ...] | None:
        """Of the classes, where the file's metadata say them."""
        with _opened(path) as file:
            value = json.loads((file.schema_arrow.metadata or {}).get(b"huggingface", b"{}"))
        for key in ("info", "features", self.label_column, "names"):
            value = value.get(key) if isinstance(value, dict) else None
        return tuple(map(str, value)) if isinstance(value, list) else None

    def _images(self, files: list[Path]) -> Iterator[Source]:
        for path in files:
            fence, row = Fence(path.parent), 0
            with _opened(path) as file:
                column = self._image_column(path, file.schema_arrow)
                for batch in file.iter_batches(_ROWS, columns=[column]):
                    for value in batch.column(0):
                        yield _source(value.as_py(), f"{path}, row {row}", fence)
                        row += 1

    def _image_column(self, path: Path, schema: pa.Schema) -> str:
        if self.image_column:
            _require(path, schema, self.image_column, "image_column")
            return self.image_column
        found = [column.name for column in schema if _holds_images(column.type)]
        if len(found) != 1:
            raise DataError(
                f"{str(path)!r} has {len(found)} columns of images among "
                f"{short(', '.join(schema.names))}; set `image_column`"
            )
        return str(found[0])


def _require(path: Path, schema: pa.Schema, column: str, field: str) -> None:
    if column not in schema.names:
        raise DataError(
            f"{str(path)!r} has no column {column!r}; set `{field}` to one of "
            f"{short(', '.join(schema.names))}"
        )


def _holds_images(kind: pa.DataType) -> bool:
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return any(
            part.name == "bytes" and (_holds_images(part.type) or pa.types.is_null(part.type))
            for part in kind
        )
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _source(value: Any, where: str, fence: Fence) -> Source:
    """An image's bytes, or the file that stands in their place."""
    content, path = (value.get("bytes"), value.get("path")) if type(value) is dict else (value, "")
    if isinstance(content, bytes):
        return Source(where, content)
    if content is None and path:
        return Source(where, fence.file(str(path), where))
    raise DataError(f"{where}: {short(value)} is no image; expected are bytes, or bytes and path")


@contextmanager
def _opened(path: Path) -> Iterator[pq.ParquetFile]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False) as file:
            yield file
    except pa.ArrowMemoryError as error:
        raise DataError(
            f"{str(path)!r} has a row group that does not fit into memory ({reason(error)}); "
            "write it anew with fewer rows per group"
        ) from error
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataError(
            f"{str(path)!r} cannot be read as Parquet ({reason(error)}); write it anew"
        ) from error
