"""What there is to see of a cell: its evidence by class, and what its model certifies."""

import base64
import io
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from bdb import artifacts, layout, params, presets
from bdb.errors import ArtifactError
from bdb.jobs import catalogue, plan
from bdb.layout import Run
from bdb.report import certified, gallery, sheet, style

RUN = Run("digits", "convnet", "badnets", "0.1", 0)


def write(path: Path, classes: int, **found: torch.Tensor) -> Path:
    names = [f"class {k}" for k in range(classes)]
    artifacts.write_tensors(path, found, {"order": list(found), "classes": names})
    return path


def pixels(uri: str) -> np.ndarray:
    head, _, text = uri.partition(",")
    assert head == "data:image/png;base64"
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def test_each_class_has_its_pictures_and_numbers(tmp_path: Path) -> None:
    triggers = torch.rand(3, 3, 8, 6, generator=torch.Generator().manual_seed(0))
    masks, norms = torch.rand(3, 1, 8, 6), torch.tensor([1.0, 2.5, 1234.567])
    path = write(tmp_path / "it.safetensors", 3, trigger=triggers, mask=masks, norm=norms)
    found = sheet.read(path, targets=[2], suspected=[0, 2])
    assert (found.rows, found.left_out) == (("trigger", "mask", "norm"), 0)
    marks = [(column.is_target, column.is_suspected) for column in found.columns]
    assert marks == [(False, True), (False, False), (True, True)]
    assert [column.name for column in found.columns] == ["class 0", "class 1", "class 2"]
    assert [column.cells[2] for column in found.columns] == ["1", "2.5", "1.23e+03"]
    for column, trigger, mask in zip(found.columns, triggers, masks, strict=True):
        drawn = pixels(column.cells[0]), pixels(column.cells[1])
        assert (drawn[0] == (255 * trigger).round().permute(1, 2, 0).numpy()).all()
        assert (drawn[1] == (255 * mask[0]).round().numpy()).all()


def test_of_many_classes_targets_and_suspects_are_shown_first_of_all(tmp_path: Path) -> None:
    path = write(tmp_path / "it.safetensors", 43, norm=torch.arange(43.0))
    found = sheet.read(path, targets=[40], suspected=[42])
    names = [f"class {k}" for k in (*range(10), 40, 42)]
    assert [column.name for column in found.columns] == names
    assert found.left_out == 31


def test_what_is_of_all_classes_has_a_column_of_its_own(tmp_path: Path) -> None:
    path = write(tmp_path / "it.safetensors", 2, norm=torch.ones(2), score=torch.tensor([7.0]))
    columns = sheet.read(path, targets=[0], suspected=[]).columns
    assert [column.cells for column in columns] == [("1", ""), ("1", ""), ("", "7")]
    assert columns[2].name == sheet.ALL_CLASSES
    path = write(tmp_path / "it.safetensors", 2, score=torch.tensor([7.0]))
    assert [column.cells for column in sheet.read(path, [0], []).columns] == [("7",)]


def test_a_large_picture_becomes_a_small_one() -> None:
    uri = sheet.picture(np.random.default_rng(0).random((3, 224, 112)))
    assert pixels(uri).shape == (64, 32, 3)
    assert len(uri) < 16_000


@pytest.mark.parametrize("radii", [[0.0], [0.0, 1.0, 4.0]])
def test_the_certified_curve_is_drawn_with_its_unit(radii: list[float]) -> None:
    curve = {"radius": radii, "accuracy": [0.9, 0.5, 0.1][: len(radii)]}
    drawn = style.svg(certified.draw(curve, "poisoned samples", "a cell"))
    assert b"radius: poisoned samples" in drawn
    assert drawn == style.svg(certified.draw(curve, "poisoned samples", "a cell"))


@pytest.fixture
def planned(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> plan.Plan:
    """A grid of one run under `nc` and `ft`, whose files are made up."""
    monkeypatch.chdir(tmp_path)
    raw = yaml.safe_load(presets.text("smoke"))
    raw["grid"] |= {"defense": ["nc", "ft"], "analysis": []}
    methods = catalogue.load()
    curve = {"radius": [0.0, 1.0], "accuracy": [0.9, 0.5]}
    cells = {"nc": {}, "ft": {"certified": curve}}
    artifacts.write_json(layout.metrics(RUN), {"targets": [1], "cells": cells})
    for name, record in (("nc", {"verdict": {"targets": [0]}}), ("ft", {"certifies": "samples"})):
        artifacts.write_json(layout.cell(RUN, name) / "provenance.json", record)
    write(layout.evidence(RUN, "nc"), 2, norm=torch.tensor([1.0, 2.0]))
    return plan.make(params.parse(raw, methods), methods)


def test_a_gallery_holds_what_cells_have_to_show(planned: plan.Plan) -> None:
    shown = gallery.make(planned)
    assert list(shown) == [f"{RUN}/nc", f"{RUN}/ft"]  # The run itself has no picture here.
    found = shown[f"{RUN}/nc"].sheet
    assert found is not None
    marks = [(column.is_target, column.is_suspected) for column in found.columns]
    assert marks == [(False, True), (True, False)]
    assert shown[f"{RUN}/nc"].names == ["evidence"]
    assert shown[f"{RUN}/ft"].names == ["certified"]
    assert shown[f"{RUN}/ft"].title == f"{RUN} under ft"
    svg = base64.b64decode(shown[f"{RUN}/ft"].pictures["certified"].partition(",")[2])
    assert b"radius: samples" in svg


def test_a_clean_model_stands_by_its_run_and_a_cell_names_the_run(planned: plan.Plan) -> None:
    looks: tuple[str | None, ...] = (None, layout.CLEAN_MODEL, "ft")
    for of in looks:
        path = layout.analysis(RUN, "tsne", "svg", of)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"<svg>{of}</svg>")
    analyses = tuple((RUN, "tsne", of) for of in looks)
    shown = gallery.make(replace(planned, analyses=analyses))
    assert list(shown) == [str(RUN), f"{RUN}/nc", f"{RUN}/ft"]
    assert list(shown[str(RUN)].pictures) == ["tsne", "tsne of the clean model"]
    assert list(shown[f"{RUN}/ft"].pictures) == ["tsne", "certified"]
    assert (shown[str(RUN)].run, shown[f"{RUN}/ft"].run) == ("", str(RUN))


def test_pictures_beyond_the_room_stay_files_and_first_seeds_come_first(
    planned: plan.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = replace(RUN, seed=1)
    for run in (later, RUN):
        for tool in ("tsne", "umap"):
            path = layout.analysis(run, tool, "svg")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("<svg>" + "x" * 89 + "</svg>")
    artifacts.write_json(layout.metrics(later), {"targets": [1], "cells": {}})
    analyses = tuple((run, tool, None) for run in (later, RUN) for tool in ("tsne", "umap"))
    two = replace(planned, runs=(later, RUN), analyses=analyses)
    monkeypatch.setattr(gallery, "_ROOM", 300)  # Three of 100 bytes.
    shown = gallery.make(two)
    assert list(shown)[:2] == [str(later), str(RUN)]
    assert all(uri.startswith("data:") for uri in shown[str(RUN)].pictures.values())
    first, second = shown[str(later)].pictures.values()
    assert first.startswith("data:")
    assert second == "../analyses/digits/convnet/badnets/0.1/s1/umap.svg"
    assert ("results/report" / Path(second)).resolve().is_file()


def test_finds_beyond_the_room_are_named_by_their_file(
    planned: plan.Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gallery, "_ROOM_FOR_FINDS", 2)  # The two norms have a letter each.
    whole = gallery.make(planned)[f"{RUN}/nc"].sheet
    monkeypatch.setattr(gallery, "_ROOM_FOR_FINDS", 1)
    folded = gallery.make(planned)[f"{RUN}/nc"].sheet
    assert whole is not None
    assert folded is not None
    assert (len(whole.columns), whole.left_out) == (2, 0)
    assert (len(folded.columns), folded.left_out) == (0, 2)
    assert folded.path == layout.evidence(RUN, "nc")


def test_a_file_that_is_gone_is_named(planned: plan.Plan, tmp_path: Path) -> None:
    layout.evidence(RUN, "nc").unlink()
    with pytest.raises(ArtifactError, match=r"nc/evidence\.safetensors: no such file"):
        gallery.make(planned)
    with pytest.raises(ArtifactError, match=r"gone\.svg: no such file"):
        gallery.embed(tmp_path / "gone.svg")
