"""A method in another package: one file and an entry point, and it runs through the DAG."""

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bdb import artifacts

ATTACK = '''
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from bdb.attacks.base import DataPoisoning, Role, State
from bdb.method import Paper
from bdb.registry import register


@register("stripe")
class Stripe(DataPoisoning):
    """White rows at the top."""

    paper: ClassVar[Paper] = Paper(title="Stripes", authors="Us", venue="Here", year=2026)

    rows: int = Field(2, ge=1, le=32, description="how many rows")

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        stamped = images.clone()
        stamped[:, :, : self.rows] = 255
        return stamped
'''

ANALYSIS = '''
from typing import ClassVar

import pandas as pd

from bdb.analyses.base import AnalysisView, OfPredictions, Picture
from bdb.registry import register
from bdb.report import style
from bdb.training import inference


@register("moved")
class Moved(OfPredictions):
    """How many answers a defense changes."""

    scope: ClassVar = "cell"
    needs: ClassVar[frozenset[str]] = frozenset({"model", "defended", "test"})

    def run(self, view: AnalysisView) -> Picture:
        before, after = (
            inference.logits(model, view.test.images).argmax(1)
            for model in (view.model, view.defended)
        )
        table = pd.DataFrame({"defense": [view.defense], "changed": [int((before != after).sum())]})
        return Picture(style.new_figure(2, 2), table)
'''

DEFENSES = '''
from typing import ClassVar

import torch
from torch import Tensor

from bdb.defenses.base import DefenderView, ModelLevel, Outcome, PreTraining
from bdb.models import base as models
from bdb.models.base import wrapper
from bdb.models.wrappers import Ensemble
from bdb.registry import register
from bdb.training.recipes import Recipe


@register("bias")
class Bias(ModelLevel):
    """Reads the head's bias, and looks for no picture."""

    needs: ClassVar[frozenset[str]] = frozenset({"model"})
    evidence: ClassVar[tuple[str, ...]] = ("bias", "grey")

    def run(self, view: DefenderView) -> Outcome:
        bias, grey = view.model.head.bias, torch.full((1, *view.data.shape), 0.5)
        verdict = {"score": float(bias.max()), "suspect": int(bias.argmax())}
        return Outcome(verdict=verdict, evidence={"bias": bias, "grey": grey})


@wrapper("counted_votes")
class CountedVotes(Ensemble):
    """Says how many members would have to change their minds (Levine & Feizi, ICLR 2021)."""

    def certificates(self, images: Tensor) -> Tensor:
        votes = (self(images).softmax(1) * (1 + len(self.others))).round()
        best = votes.argmax(1, keepdim=True)
        classes = torch.arange(votes.shape[1], device=votes.device)
        lead = votes.gather(1, best) - votes - (classes < best).float()
        return (lead.scatter(1, best, torch.inf).amin(1) / 2).floor()


@register("partitions")
class Partitions(PreTraining):
    """Trains a model on each of several parts of the data, and lets them vote."""

    needs: ClassVar[frozenset[str]] = frozenset({"model", "train_set"})
    certifies: ClassVar[str | None] = "poisoned samples"
    hides: ClassVar[frozenset[str]] = frozenset({"features", "maps"})

    parts: int = 5

    def run(self, view: DefenderView) -> Outcome:
        members = []
        for part in range(self.parts):
            member = view.build_model(part)
            chosen = torch.arange(part, len(view.train_set), self.parts)
            recipe = Recipe(epochs=8, batch_size=32, lr=0.05)
            view.fit(member, view.train_set[chosen], recipe, what=f"part {part}")
            members.append(member)
        first, *others = members
        return Outcome(model=models.wrap(first, "counted_votes", *others, vote="majority"))
'''

METADATA = "Metadata-Version: 2.1\nName: others\nVersion: 0.1\n"


def install(folder: Path, group: str, name: str, source: str) -> None:
    """What `pip install` leaves behind."""
    for path, text in {
        "others/__init__.py": "",
        f"others/{name}.py": source,
        "others-0.1.dist-info/METADATA": METADATA,
        "others-0.1.dist-info/entry_points.txt": f"[bdb.{group}]\n{name} = others.{name}\n",
    }.items():
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)


def check(project: Any, *calls: str) -> None:
    """As the author of another package tests a method."""
    checked = project.python(f"from bdb.testing import *; {'; '.join(calls)}")
    assert checked.returncode == 0, checked.stderr


@pytest.mark.evidence
def test_an_attack_of_another_package_runs_through_the_dag(project: Any, tmp_path: Path) -> None:
    install(tmp_path / "site", "attacks", "stripe", ATTACK)
    project.search(tmp_path / "site")
    project.params["grid"] |= {"attack": ["stripe"], "defense": [], "analysis": []}
    project.params["attacks"] = {"stripe": {"rows": 3}}
    project.params["training"]["epochs"] = 8
    project.save()
    assert "White rows at the top." in project.bdb("list", "attack", "stripe").stdout
    check(project, "from others.stripe import Stripe", "check_attack(Stripe)")
    ran = project.snakemake()
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (victim,) = pd.read_csv(project.folder / "results" / "board.csv").to_dict("records")
    assert victim["attack"] == "stripe"
    assert victim["asr"] > 0.9


@pytest.mark.evidence
def test_an_analysis_of_another_package_draws_every_cell(project: Any, tmp_path: Path) -> None:
    install(tmp_path / "site", "analyses", "moved", ANALYSIS)
    project.search(tmp_path / "site")
    project.params["grid"] |= {"defense": ["clp", "strip"], "analysis": ["moved", "triggers"]}
    project.params["defenses"] = {"strip": {"overlays": 4}}
    project.params["training"]["epochs"] = 1
    project.save()
    assert "moved looks at a defended model, and strip only detects" in project.bdb("check").stdout
    project.make()
    pictures = project.folder / "results/analyses/digits/convnet/badnets/0.1/s0"
    found = sorted(str(path.relative_to(pictures)) for path in pictures.rglob("*.*"))
    assert found == ["clp/moved.parquet", "clp/moved.svg", "triggers.parquet", "triggers.svg"]
    assert pd.read_parquet(pictures / "clp/moved.parquet")["defense"].tolist() == ["clp"]
    page = (project.folder / "results/report/index.html").read_text()
    assert 'data-run="digits/convnet/badnets/0.1/s0 under clp"' in page
    assert 'alt="triggers of digits/convnet/badnets/0.1/s0"' in page
    assert project.planned() == {}


def test_defenses_of_another_package_pass_the_checks(project: Any, tmp_path: Path) -> None:
    install(tmp_path / "site", "defenses", "proofs", DEFENSES)
    project.search(tmp_path / "site")
    calls = ["check_defense(Bias)", "check_defense(Partitions, parts=3)"]
    check(project, "from others.proofs import *", *calls)


@pytest.mark.evidence
def test_what_defenses_of_another_package_find_and_certify_is_kept_and_shown(
    project: Any, tmp_path: Path
) -> None:
    install(tmp_path / "site", "defenses", "proofs", DEFENSES)
    project.search(tmp_path / "site")
    project.params["grid"] |= {"defense": ["bias", "partitions", "strip"], "analysis": []}
    project.params["training"]["epochs"] = 4
    project.save()
    project.make()
    run, results = "digits/convnet/badnets/0.1/s0", project.folder / "results"
    found, facts = artifacts.read_arrays(results / "cells" / run / "bias/evidence.safetensors")
    assert (facts["order"], found["grey"].shape) == (["bias", "grey"], (1, 3, 32, 32))
    columns = artifacts.read_table(results / "cells" / run / "strip/predictions.parquet").columns
    assert "certificate" not in columns
    cells = artifacts.read_json(results / "metrics" / f"{run}.json")["cells"]
    assert {name for name, cell in cells.items() if "certified" in cell} == {"partitions"}
    curve = cells["partitions"]["certified"]
    assert curve["radius"] == [0.0, 1.0, 2.0]  # Of five votes a lead of all bears two poisons.
    every, one, two = curve["accuracy"]
    assert every == cells["partitions"]["c_acc"]
    assert every > one > two > 0.2
    page = (results / "report/index.html").read_text()
    assert f'alt="certified of {run} under partitions"' in page
    assert 'alt="grey of all classes"' in page
    assert project.planned() == {}
