"""What a defense may see of a run: images, and nothing that links them across sets."""

from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from PIL import Image
from torch import Tensor

from bdb import layout, params, presets
from bdb.datasets.base import ImageSet
from bdb.defenses.base import DefenderView, ModelLevel, Outcome, PostTraining, PreTraining
from bdb.errors import BdbError, ParamsError
from bdb.jobs import catalogue, plan
from bdb.jobs.jobs import Jobs
from bdb.layout import Run
from bdb.metrics import certified
from bdb.models import base as models
from bdb.models.base import Wrapper, wrapper
from bdb.report import setting
from bdb.stages import defend, poison, prepare
from bdb.stages.inputs import RunInputs, read_split

RUN = Run("digits", "convnet", "badnets", "0.1", 0)


@wrapper("brightness_certificate")
class BrightnessCertificate(Wrapper):
    """Certifies an image by how bright it is."""

    def certificates(self, images: Tensor) -> Tensor:
        return images.mean((1, 2, 3))


class Certifier(PostTraining):
    """Gives back a model that certifies."""

    needs = frozenset({"model"})
    certifies = "brightness"


class Matcher(PreTraining):
    """Takes for poison what differs from its own clean copy of the same sample."""

    needs = frozenset({"train_set", "clean_set"})
    mitigates = False

    def run(self, view: DefenderView) -> Outcome:
        train, clean = view.train_set, view.clean_set
        flagged = torch.zeros(len(train), dtype=torch.bool)
        match = train.of(clean.ids)
        differs = (match.images != clean.images).flatten(1).any(1)
        flagged[clean.ids[differs]] = True
        return Outcome(flagged={"train": flagged})


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A poisoned run whose defender's clean images were trained on."""
    raw = yaml.safe_load(presets.text("smoke"))
    raw["clean_set"] = {"source": "seen"}
    methods = catalogue.load()
    jobs = Jobs(plan.make(params.parse(raw, methods), methods))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("seen"))
        prepare.run(jobs, RUN.dataset)
        poison.run(jobs, RUN)
        yield RunInputs(jobs, RUN)


def test_equal_ids_do_not_find_the_poison(inputs: RunInputs) -> None:
    defense = Matcher()
    stream = defend.InputStream(inputs.test, inputs.triggered, RUN.seed)
    outcome = defense.run(defend._view(defense, inputs, stream))
    flagged, poisoned = outcome.flagged["train"], _is_poison(inputs)
    assert flagged.any()
    hit = float(poisoned[flagged].float().mean())
    assert hit == pytest.approx(float(poisoned.float().mean()), abs=0.06)


def test_the_order_of_seen_images_does_not_find_it_either(inputs: RunInputs) -> None:
    """In one order, what stands between two images would have to lie between their copies."""
    places = _places(inputs.given_train_set, inputs.clean_set)
    steps = places.diff().sign()
    assert 0.4 < float((steps > 0).float().mean()) < 0.6
    again = _places(inputs.given_train_set, inputs.clean_set)
    assert torch.equal(places, again)


def test_what_was_seen_is_part_of_the_training_set(inputs: RunInputs) -> None:
    clean, own = _rows(inputs.clean_set), _rows(inputs.train_set)
    assert clean <= own
    assert len(inputs.train_set) > len(inputs.clean_set) > 100


def test_certificates_stand_beside_the_predictions_and_count_in_a_curve(
    inputs: RunInputs,
) -> None:
    victim = models.build(inputs.spec, 0)
    outcome = Outcome(model=models.wrap(victim, "brightness_certificate").eval())
    scores = defend._scores(outcome, inputs, None)  # type: ignore[arg-type]
    table = defend._predictions(outcome, Certifier(), inputs, scores)
    for split, images in (("test", inputs.test.images), ("triggered", inputs.triggered.images)):
        rows = table[table["split"] == split]
        bright = images.float().mean((1, 2, 3)) / 255
        assert rows["certificate"].to_numpy() == pytest.approx(bright.numpy(), abs=1e-5)
    clean = table[table["split"] == "test"]
    right = clean["predicted"] == clean["label"]
    assert certified.curve(table)["accuracy"][0] == pytest.approx(right.mean())
    plain = defend._predictions(Outcome(model=victim), Matcher(), inputs, scores)
    assert "certificate" not in plain


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"norm": torch.zeros(9)}, r"evidence 'norm' has shape \(9,\)"),
        ({"norm": torch.zeros(10), "mask": torch.zeros(10)}, "evidence 'mask' was not declared"),
        ({}, "evidence 'norm' was declared and not given; given are none"),
    ],
)
def test_the_stage_refuses_other_evidence_than_is_declared(
    inputs: RunInputs, found: dict[str, Tensor], said: str
) -> None:
    class Normed(ModelLevel):
        """Measures a number per class."""

        needs = frozenset({"model"})
        evidence = ("norm",)

    verdict = {"score": 1.0, "suspect": 0}
    stream = defend.InputStream(inputs.test, inputs.triggered, RUN.seed)
    with pytest.raises(BdbError, match=said):
        defend._check(Outcome(verdict=verdict, evidence=found), Normed(), inputs, stream)
    with pytest.raises(BdbError, match="judges is True, but it gave no verdict"):
        defend._check(Outcome(evidence={"norm": torch.zeros(10)}), Normed(), inputs, stream)
    fine = Outcome(verdict=verdict, evidence={"norm": torch.zeros(10)})
    defend._check(fine, Normed(), inputs, stream)


def _is_poison(inputs: RunInputs) -> Tensor:
    made = inputs.poison.plan
    return torch.isin(inputs.given_train_set.ids, made.ids[made.is_poison])


def _rows(images: ImageSet) -> set[bytes]:
    return {row.numpy().tobytes() for row in images.images}


def _places(train: ImageSet, clean: ImageSet) -> Tensor:
    """Where the clean images that were not poisoned lie in the training set."""
    at = {row.numpy().tobytes(): place for place, row in enumerate(train.images)}
    found = [at.get(row.numpy().tobytes()) for row in clean.images]
    return torch.tensor([place for place in found if place is not None])


def test_a_view_numbers_each_set_anew(inputs: RunInputs) -> None:
    defense = Matcher()
    stream = defend.InputStream(inputs.test, inputs.triggered, RUN.seed)
    view = defend._view(defense, inputs, stream)
    for shown in (view.train_set, view.clean_set):
        assert torch.equal(shown.ids, torch.arange(len(shown)))


def jobs_of(changed: dict[str, Any] | None = None, **clean_set: Any) -> Jobs:
    raw = yaml.safe_load(presets.text("smoke"))
    for section, fields in (changed or {}).items():
        raw[section] |= fields
    raw["clean_set"] = clean_set
    methods = catalogue.load()
    return Jobs(plan.make(params.parse(raw, methods), methods))


def test_shifted_clean_images_are_the_reserved_ones_under_their_labels(
    tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    prepare.run(jobs_of(source="ood"), RUN.dataset)
    reserved, shifted = (RunInputs(jobs_of(source=source), RUN) for source in ("reserved", "ood"))
    assert torch.equal(shifted.train_set.images, reserved.train_set.images)
    assert torch.equal(shifted.clean_set.labels, reserved.clean_set.labels)
    assert torch.equal(shifted.clean_set.images, shifted.clean_set.images)
    differs = (shifted.clean_set.images != reserved.clean_set.images).flatten(1).any(1)
    assert differs.float().mean() > 0.9


def test_how_far_clean_images_are_shifted_retrains_no_victim() -> None:
    before, after, reserved = (
        jobs_of(source="ood", severity=0.2),
        jobs_of(source="ood", severity=0.8),
        jobs_of(source="reserved"),
    )
    for stage in ("poison", "train"):
        assert list(before.of(stage)) == list(after.of(stage)) == list(reserved.of(stage))
        assert list(before.of(stage)) != list(jobs_of(source="seen").of(stage))
    for stage in ("features", "defend"):
        assert list(before.of(stage)) != list(after.of(stage))


def write_digits(folder: Path) -> None:
    """Squares of one colour under the names of digits' classes, and a class that digits lacks."""
    for name in (*map(str, range(10)), "letter"):
        (folder / name).mkdir(parents=True)
        for number in range(10 if name == "3" else 60):
            image = Image.new("RGB", (20, 20), (200, 200, 4 * number))
            image.save(folder / name / f"{number}.png")


def test_clean_images_may_come_from_a_second_data_set(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_digits(tmp_path / "theirs")
    monkeypatch.chdir(tmp_path)
    fields = {"folder": {"path": str(tmp_path / "theirs"), "crop_padding": 0}}
    theirs = jobs_of({"datasets": fields}, source="ood", dataset="folder")
    assert [job.arguments for job in theirs.of("prepare")] == [("digits",), ("folder",)]
    for name in ("digits", "folder"):
        prepare.run(theirs, name)
    inputs, own = (RunInputs(jobs, RUN) for jobs in (theirs, jobs_of(source="reserved")))
    clean, reserved = inputs.clean_set, own.clean_set
    assert torch.equal(inputs.train_set.images, own.train_set.images)
    wanted = reserved.labels.bincount()
    labels = read_split("folder", "train")[0].labels
    wanted[3] = (labels == 3).sum()  # All that there are: fewer than of digits.
    assert 0 < wanted[3] < reserved.labels.bincount()[3]
    assert torch.equal(clean.labels.bincount(), wanted)
    assert clean.images.shape[1:] == inputs.data.shape
    assert bool((clean.images[:, 0] == 200).all())
    assert torch.equal(clean.images, inputs.clean_set.images)


def test_a_second_data_set_is_read_by_what_needs_clean_images_alone() -> None:
    raw = {"datasets": {"folder": {"path": "theirs"}}}
    defenses = {"grid": {"defense": ["clp", "ft", "ac"]}}
    own, theirs = (
        jobs_of(raw | defenses, source="ood", **fields) for fields in ({}, {"dataset": "folder"})
    )
    for stage in ("poison", "train"):
        assert list(own.of(stage)) == list(theirs.of(stage))
    reads = {
        job.name: layout.prepared("folder", "train") in job.inputs
        for stage in ("features", "defend")
        for job in theirs.of(stage)
    }
    assert reads == {
        f"features {RUN}": True,
        f"defend {RUN} clp": False,
        f"defend {RUN} ft": True,
        f"defend {RUN} ac": False,
    }
    assert "clean_set.dataset=folder" in setting.describe(theirs.plan, RUN, "ft")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"source": "ood", "dataset": "digit"}, r"clean_set\.dataset: .*'digit'.*digits"),
        ({"source": "seen", "dataset": "cifar10"}, "only with 'ood'"),
    ],
)
def test_a_clean_set_that_cannot_be_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ParamsError, match=message):
        jobs_of(**fields)
