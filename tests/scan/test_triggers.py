"""With clean images: a trigger is reversed, tried, drawn, and tried on a clean model."""

import json
import math
import time
from pathlib import Path

import pytest
import torch
from PIL import Image
from scanned import bdb, put

from bdb import registry
from bdb.datasets.base import DataSpec, ImageSet
from bdb.defenses.base import Given
from bdb.errors import BdbError, DataError
from bdb.models import base as models
from bdb.scan import images, triggers
from bdb.scan.finding import Finding
from bdb.scan.ladder import Ladder
from bdb.testing import Lab, digits, lab

QUICK = {"nc": {"rounds": 8, "batch_size": 16, "patience": 2}}


def some(count: int) -> ImageSet:
    return digits().test[torch.arange(count)]


@pytest.fixture(scope="module")
def found(badnets: Lab) -> Finding:
    given = Given(model=badnets.model, clean_set=badnets.clean_set)
    ladder = Ladder(given, math.inf, 0, QUICK)
    (detector,) = ladder.detectors(lambda d: d.judges and {"trigger", "mask"} <= {*d.evidence})
    outcome, reason, seconds = ladder.ask(detector)
    assert outcome is not None, reason
    assert outcome.model is None  # What it would unlearn was not asked for.
    return Finding(detector.name, outcome.verdict, "", seconds, outcome.evidence)


@pytest.mark.slow
def test_what_the_attacker_planted_acts_on_the_suspect_alone(found: Finding, badnets: Lab) -> None:
    clean = lab("none", 0.0, 1).model
    (trigger,) = [
        each
        for each in triggers.test([found], badnets.model, badnets.clean_set, clean)
        if each.label == 0
    ]
    assert trigger.asr > 0.9
    assert trigger.on_clean is not None
    assert trigger.on_clean < 0.3
    assert trigger.origin == "its own"


@pytest.mark.slow
def test_what_acts_on_the_clean_model_too_is_natural(
    found: Finding, badnets: Lab, tmp_path: Path
) -> None:
    (trigger, *_) = triggers.test([found], badnets.model, badnets.clean_set, badnets.model)
    assert (trigger.origin, trigger.on_clean) == ("natural", trigger.asr)
    (alone, *_) = triggers.test([found], badnets.model, badnets.clean_set, None)
    assert (alone.origin, alone.on_clean) == ("", None)
    (path,) = triggers.save([trigger], tmp_path / "new")
    assert path.name == "nc-class-0.png"
    with Image.open(path) as picture:
        assert picture.size == (32, 32)


def test_without_images_of_other_classes_nothing_is_claimed(badnets: Lab) -> None:
    evidence = {"trigger": torch.zeros(1, 3, 32, 32), "mask": torch.zeros(1, 1, 32, 32)}
    finding = Finding("x", {"backdoored": True, "targets": [0], "score": 1.0}, evidence=evidence)
    only = badnets.clean_set[badnets.clean_set.labels == 0]
    (trigger,) = triggers.test([finding], badnets.model, only, badnets.model)
    assert math.isnan(trigger.asr)
    assert trigger.origin == ""


def test_images_go_by_the_names_of_their_folders(tmp_path: Path, badnets: Lab) -> None:
    data = badnets.spec.data
    read = images.labelled(put(tmp_path, some(40), list("0123456789")), data)
    order = some(40).labels.argsort(stable=True)
    assert torch.equal(read.images.images, some(40).images[order])
    assert torch.equal(read.images.labels, some(40).labels[order])
    assert read.names[0].endswith(".png")


def test_folders_of_other_names_go_by_their_order(tmp_path: Path, badnets: Lab) -> None:
    names = [f"n{9 - label}" for label in range(10)]
    read = images.labelled(put(tmp_path, some(40), names), badnets.spec.data)
    expected = (9 - some(40).labels).sort().values
    assert torch.equal(read.images.labels, expected)


@pytest.mark.parametrize("shape", [(1, 32, 32), (3, 20, 12), (1, 4, 4)])
def test_images_come_in_the_shape_of_the_model(tmp_path: Path, shape: tuple[int, int, int]) -> None:
    channels = (0.5,) * shape[0]
    data = DataSpec(
        dataset="x", classes=tuple("0123456789"), shape=shape, mean=channels, std=channels
    )
    read = images.labelled(put(tmp_path, some(12), list("0123456789")), data)
    assert read.images.images.shape == (12, *shape)


def test_other_classes_are_refused(tmp_path: Path, badnets: Lab) -> None:
    names = [f"n{label % 3}" for label in range(10)]
    with pytest.raises(DataError, match=r"3 classes, .* and the model has 10"):
        images.labelled(put(tmp_path, some(12), names), badnets.spec.data)
    with pytest.raises(BdbError):
        images.labelled(tmp_path / "missing", badnets.spec.data)


def test_other_readers_take_their_files(tmp_path: Path, badnets: Lab) -> None:
    put(tmp_path, some(12), list("0123456789"))
    rows = [f"{p.relative_to(tmp_path)},{p.parent.name}" for p in sorted(tmp_path.rglob("*.png"))]
    (tmp_path / "list.csv").write_text("\n".join(["path,label", *rows]) + "\n")
    read = images.labelled(tmp_path, badnets.spec.data)
    assert sorted(read.images.labels.tolist()) == sorted(some(12).labels.tolist())


@pytest.mark.evidence
def test_pictures_are_written_where_they_are_wanted(tmp_path: Path, badnets: Lab) -> None:
    models.save(tmp_path / "model.safetensors", badnets.model)
    models.save(tmp_path / "clean.safetensors", lab("none", 0.0).model)
    put(tmp_path / "clean", some(30), list("0123456789"))
    options = ("--images", "clean", "--clean-model", "clean.safetensors", "--pictures", "drawn")
    done = bdb(tmp_path, "model.safetensors", *options, "--budget", "20s", "--json")
    assert done.returncode == 1, done.stderr
    said = json.loads(done.stdout)
    assert said["accuracy"] > 0.8
    names = {each["name"]: each for each in said["detectors"]}
    assert "nc" in names
    drawn = [path.name for path in (tmp_path / "drawn").glob("*")]
    assert len(drawn) == len(said["triggers"])


def test_a_clean_model_needs_images_and_the_same_classes(tmp_path: Path, badnets: Lab) -> None:
    models.save(tmp_path / "model.safetensors", badnets.model)
    done = bdb(tmp_path, "model.safetensors", "--clean-model", "model.safetensors")
    assert done.returncode == 2
    assert "these need --images" in done.stderr
    fewer = badnets.spec.data.model_copy(update={"classes": ("a", "b")})
    spec = badnets.spec.model_copy(update={"data": fewer})
    models.save(tmp_path / "other.safetensors", models.build(spec, 0))
    put(tmp_path / "clean", some(30), list("0123456789"))
    options = ("--images", "clean", "--clean-model", "other.safetensors")
    done = bdb(tmp_path, "model.safetensors", *options)
    assert done.returncode == 2
    assert "other images than the suspect's, or classes" in done.stderr


def test_detectors_are_found_by_what_they_say_and_need(badnets: Lab) -> None:
    given = Given(model=badnets.model, clean_set=badnets.clean_set)
    fitting = Ladder(given, time.monotonic(), 0).detectors(lambda each: each.judges)
    names = [each.name for each in fitting]
    assert names == ["head_norm", "freeeagle", "mm_bd", "nc", "bti_dbf"]  # by what each costs
    alone = Ladder(Given(model=badnets.model), time.monotonic(), 0)
    free = {each.name for each in alone.detectors(lambda each: each.judges)}
    assert "nc" not in free
    judging = {n for n in registry.names("defense") if registry.get("defense", n).judges}  # type: ignore[attr-defined]
    assert free < judging
