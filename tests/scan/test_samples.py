"""Single images: those that arrive, and those of a training set, each judged by many detectors."""

import json
import math
from pathlib import Path

import pandas as pd
import pytest
import torch
from scanned import bdb, put

from bdb.defenses.base import Given
from bdb.defenses.features import VictimFeatures, extract
from bdb.errors import DataError
from bdb.models import base as models
from bdb.scan import images, samples
from bdb.scan.ladder import Ladder
from bdb.scan.samples import Sifted
from bdb.testing import Lab

NAMES = list("0123456789")


@pytest.mark.slow
def test_triggered_inputs_are_flagged(badnets: Lab) -> None:
    mixed, is_triggered = (part[:160] for part in badnets.inputs())
    given = Given(badnets.model, clean_set=badnets.clean_set, inputs=mixed)
    names = [str(number) for number in range(len(mixed))]
    found = list(samples.sift(Ladder(given, math.inf, 0), "inputs", names))
    votes = samples.table(found).groupby("image")["flagged"].sum()
    hit = votes[[str(number) for number in is_triggered.nonzero().flatten().tolist()]]
    missed = votes.drop(hit.index)
    assert {"strip", "scale_up"} <= {each.detector for each in found if not each.reason}
    assert hit.mean() > missed.mean() + 1.5


@pytest.mark.evidence
@pytest.mark.slow
def test_poisoned_samples_are_flagged_and_nothing_is_trained(
    badnets: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    train, clean = badnets.train_set, badnets.clean_set
    monkeypatch.delattr("bdb.training.loop.fit")
    features = VictimFeatures(*(extract(badnets.model, each.images) for each in (train, clean)))
    given = Given(badnets.model, train, clean, features=features)
    names = [str(number) for number in range(len(train))]
    found = list(samples.sift(Ladder(given, math.inf, 0), "train", names))
    judged = {each.detector: each for each in found if not each.reason}
    assert {"ac", "scan", "spectral", "strip_train"} <= set(judged)
    poison = badnets.is_poison()
    votes = torch.stack([each.flagged for each in judged.values()]).float().sum(0)
    assert votes[poison].mean() > votes[~poison].mean() + 1.5
    table = samples.table(found)
    assert len(table) == len(judged) * len(train)


@pytest.mark.evidence
def test_scores_are_written_and_said(tmp_path: Path, badnets: Lab) -> None:
    models.save(tmp_path / "model.safetensors", badnets.model)
    put(tmp_path / "train", badnets.train_set[torch.arange(150)], NAMES)
    asked = ("--train", "train", "--scores", "scores.csv", "--json", "--budget", "8s")
    done = bdb(tmp_path, "model.safetensors", *asked)
    assert done.returncode in (0, 1), done.stderr
    said = {each["detector"]: each for each in json.loads(done.stdout)["samples"]}
    assert said["spectral"]["images"] == 150
    table = pd.read_csv(tmp_path / "scores.csv")
    assert len(table[table["detector"] == "spectral"]) == 150
    flagged = table[(table["detector"] == "spectral") & table["flagged"]]["image"]
    assert sorted(flagged) == sorted(said["spectral"]["flagged"])


def test_inputs_are_judged_beside_clean_images(tmp_path: Path, badnets: Lab) -> None:
    models.save(tmp_path / "model.safetensors", badnets.model)
    done = bdb(tmp_path, "model.safetensors", "--inputs", "inputs")
    assert done.returncode == 2
    assert "clean --images have to say" in done.stderr


def test_detectors_that_lack_something_are_not_asked(badnets: Lab) -> None:
    alone = Ladder(Given(badnets.model, inputs=badnets.inputs()[0]), math.inf, 0)
    assert list(samples.sift(alone, "inputs", [])) == []


def test_images_are_ordered_by_how_many_detectors_flag_them() -> None:
    def sifted(*hits: bool) -> Sifted:
        return Sifted("x", "inputs", ["a", "b", "c"], torch.zeros(3), torch.tensor(hits))

    failed = Sifted("y", "inputs", ["a", "b", "c"], torch.empty(0), torch.empty(0).bool(), "no")
    found = [sifted(False, True, False), sifted(True, True, False), failed]
    assert samples.votes(found, "inputs") == ([("b", 2), ("a", 1)], 2)
    assert samples.votes([failed], "inputs") == ([], 0)
    assert samples.table([failed]).empty


def test_a_folder_without_images_is_refused(tmp_path: Path, badnets: Lab) -> None:
    with pytest.raises(DataError, match="no folder with PNG or JPEG"):
        images.unlabelled(tmp_path, badnets.spec.data)
    (tmp_path / "x.png").write_text("no image")
    with pytest.raises(DataError, match="cannot be read as PNG or JPEG"):
        images.unlabelled(tmp_path, badnets.spec.data)
