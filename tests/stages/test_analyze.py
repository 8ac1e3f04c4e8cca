"""Analyses of data, of victims and of cells: what is planned, what is read, what is drawn."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd
import pytest
import yaml

from bdb import artifacts, layout, params, presets, registry
from bdb.analyses.base import Analysis, AnalysisView, OfData, OfPredictions, Picture
from bdb.errors import ParamsError
from bdb.jobs import catalogue, plan
from bdb.jobs.jobs import Jobs
from bdb.layout import Run
from bdb.models import base as models
from bdb.report import style
from bdb.stages import analyze, defend, poison, prepare, train
from bdb.stages.inputs import RunInputs
from bdb.training import inference

RUN = Run("digits", "convnet", "badnets", "0.1", 0)
CELL = layout.cell(RUN, "clp")
HOME = "bdb.analyses.predictions.confusion"  # stands in for a module that the catalogue knows


def picture(table: pd.DataFrame) -> Picture:
    return Picture(style.new_figure(2, 2), table)


class Moved(OfPredictions):
    """How many answers a defense changes."""

    scope: ClassVar = "cell"
    needs: ClassVar[frozenset[str]] = frozenset({"model", "defended", "test"})

    def run(self, view: AnalysisView) -> Picture:
        before, after = (
            inference.logits(model, view.test.images).argmax(1)
            for model in (view.model, view.defended)
        )
        changed = int((before != after).sum())
        return picture(pd.DataFrame({"defense": [view.defense], "changed": [changed]}))


class Shares(OfData):
    """How much of the training set is poison."""

    scope: ClassVar = "data"
    needs: ClassVar[frozenset[str]] = frozenset({"train_set"})

    def run(self, view: AnalysisView) -> Picture:
        assert len(view.is_poison) == len(view.train_set)
        return picture(pd.DataFrame({"poison": [int(view.is_poison.sum())]}))


class Beside(OfPredictions):
    """A victim's answers to triggered images beside the clean model's."""

    needs: ClassVar[frozenset[str]] = frozenset({"model", "clean_model", "triggered"})

    def run(self, view: AnalysisView) -> Picture:
        triggered = view.triggered
        hits = {
            name: inference.accuracy(model, triggered.images, triggered.targets)
            for name, model in (("victim", view.model), ("clean", view.clean_model))
        }
        return picture(pd.DataFrame([hits]))


TOOLS: dict[str, type[Analysis]] = {"moved": Moved, "shares": Shares, "beside": Beside}


@pytest.fixture(scope="module")
def methods() -> Iterator[catalogue.Catalogue]:
    """The catalogue with three more analyses, as another package would bring them."""
    known = catalogue.load()
    registry.names("analysis")
    with pytest.MonkeyPatch.context() as patch:
        for name, cls in TOOLS.items():
            patch.setitem(registry._registered["analysis"], name, cls)
            patch.setattr(cls, "name", name)
        added = {
            name: replace(catalogue._describe("analysis", name), module=HOME) for name in TOOLS
        }
        entries = known.entries | {"analysis": known.entries["analysis"] | added}
        yield replace(known, entries=entries)


def jobs_of(
    methods: catalogue.Catalogue,
    keep: bool = True,
    analyses: dict[str, Any] | None = None,
    **grid: Any,
) -> Jobs:
    raw = yaml.safe_load(presets.text("smoke"))
    raw["grid"] |= {"defense": ["clp", "strip"], "analysis": list(TOOLS)} | grid
    raw["keep_defended_models"] = keep
    raw["training"]["epochs"] = 4
    raw["analyses"] = analyses or {}
    return Jobs(plan.make(params.parse(raw, methods), methods))


def test_a_tool_of_cells_is_planned_once_per_defense_that_leaves_a_model(
    methods: catalogue.Catalogue,
) -> None:
    made = jobs_of(methods).plan
    assert made.analyses == ((RUN, "moved", "clp"), (RUN, "shares", None), (RUN, "beside", None))
    (left,) = made.left_out
    assert left.what == f"{RUN} moved strip"
    assert left.reason == "moved looks at a defended model, and strip only detects"


def test_models_that_are_not_kept_cannot_be_looked_at(methods: catalogue.Catalogue) -> None:
    made = jobs_of(methods, keep=False, defense=["clp"]).plan
    assert [tool for _, tool, _ in made.analyses] == ["shares", "beside"]
    (left,) = made.left_out
    assert left.reason == "moved looks at a defended model, and keep_defended_models is false"


def test_without_a_defense_there_is_no_cell(methods: catalogue.Catalogue) -> None:
    (left,) = jobs_of(methods, defense=[], analysis=["moved"]).plan.left_out
    assert (left.what, left.reason) == (
        f"{RUN} moved",
        "moved looks at a defended model; name a defense",
    )


def test_a_command_that_does_not_fit_the_scope_is_refused(methods: catalogue.Catalogue) -> None:
    jobs = jobs_of(methods)
    with pytest.raises(ParamsError, match=r"^analyze: moved looks at a defended model; name a def"):
        jobs.analyze(RUN, "moved")
    with pytest.raises(
        ParamsError, match=r"^analyze: beside looks at no defended model; leave clp"
    ):
        jobs.analyze(RUN, "beside", "clp")


EVERY = ["victim", "clean_model", "defended"]


def test_a_tool_looks_at_the_models_that_it_is_told_to(methods: catalogue.Catalogue) -> None:
    looks = {"gradcam": {"of": EVERY}}
    jobs = jobs_of(methods, attack=["none", "badnets"], analysis=["gradcam"], analyses=looks)
    control = RUN.control
    assert jobs.plan.analyses == (
        (control, "gradcam", None),
        (control, "gradcam", "clp"),
        (RUN, "gradcam", None),
        (RUN, "gradcam", layout.CLEAN_MODEL),
        (RUN, "gradcam", "clp"),
    )
    reasons = {part.what: part.reason for part in jobs.plan.left_out}
    assert reasons[f"{control} gradcam clean_model"] == "the victim of none is the clean model"
    models = {
        of: set(jobs.analyze(RUN, "gradcam", of).inputs)
        & {layout.model(RUN), layout.model(control), layout.defended(RUN, "clp")}
        for of in (None, layout.CLEAN_MODEL, "clp")
    }
    assert models == {
        None: {layout.model(RUN)},
        layout.CLEAN_MODEL: {layout.model(control)},
        "clp": {layout.defended(RUN, "clp")},
    }


def test_the_clean_model_is_made_for_a_tool_that_looks_at_it(methods: catalogue.Catalogue) -> None:
    looks = {"confusion": {"of": ["clean_model"]}}
    jobs = jobs_of(methods, analysis=["confusion"], analyses=looks)
    assert jobs.plan.analyses == ((RUN, "confusion", layout.CLEAN_MODEL),)
    assert jobs.shared.clean_models == (RUN.control,)
    with pytest.raises(ParamsError, match=r"^analyze: confusion looks at a clean model; name cle"):
        jobs.analyze(RUN, "confusion")
    with pytest.raises(ParamsError, match=r"^analyze: triggers looks at no clean model; leave it"):
        jobs.analyze(RUN, "triggers", layout.CLEAN_MODEL)


@pytest.mark.parametrize("tool", ["moved", "shares"])
def test_a_tool_without_a_choice_of_models_refuses_one(
    methods: catalogue.Catalogue, tool: str
) -> None:
    with pytest.raises(ParamsError, match=rf"analyses\.{tool}\.of: {tool} has no choice of models"):
        jobs_of(methods, analyses={tool: {"of": ["victim"]}})


def test_a_defended_model_that_hides_what_a_tool_acts_on_is_left_out(
    methods: catalogue.Catalogue,
) -> None:
    looks = {"tsne": {"of": ["victim", "defended"]}}
    plan = jobs_of(methods, defense=["dpa"], analysis=["tsne"], analyses=looks).plan
    assert [part.reason for part in plan.left_out] == [
        "tsne acts on features, and what dpa leaves has none"
    ]


def test_inputs_follow_from_needs(methods: catalogue.Catalogue) -> None:
    jobs = jobs_of(methods)
    train, test = (layout.prepared("digits", name) for name in ("train", "test"))
    given, victim = layout.poisoned(RUN), layout.model(RUN)
    cell = layout.defended(RUN, "clp")
    assert set(jobs.analyze(RUN, "moved", "clp").inputs) == {test, victim, cell}
    assert set(jobs.analyze(RUN, "shares").inputs) == {test, train, given}
    records = {folder / "provenance.json" for folder in (layout.victim(RUN), CELL)}
    assert set(jobs.analyze(RUN, "radar", "clp").inputs) == {test, victim, cell, given, *records}
    clean = layout.model(RUN.control)
    assert set(jobs.analyze(RUN, "beside").inputs) == {test, victim, clean, given}
    assert set(jobs.analyze(RUN, "triggers").inputs) == {test, victim, given}
    assert jobs.shared.clean_models == (RUN.control,)
    assert jobs_of(methods, analysis=["moved"]).shared.clean_models == ()


def test_a_defense_that_reads_features_costs_their_extraction_too(
    methods: catalogue.Catalogue,
) -> None:
    jobs = jobs_of(methods, defense=["ac"], analysis=["radar"])
    extracted = layout.features(RUN).with_name("provenance.json")
    assert extracted in jobs.analyze(RUN, "radar", "ac").inputs


def test_every_job_comes_after_those_that_it_reads(methods: catalogue.Catalogue) -> None:
    made: set[Path] = set()
    for job in jobs_of(methods, attack=["none", "badnets", "wanet"]):
        assert made.issuperset(job.inputs), job.name
        made.update(job.outputs)


def test_every_analysis_reads_what_its_job_declares_and_no_more(
    methods: catalogue.Catalogue, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = jobs_of(
        methods,
        analyses={"confusion": {"of": EVERY}},
        attack=["none", "badnets"],
        analysis=[*TOOLS, "confusion", "radar"],
    )
    monkeypatch.chdir(tmp_path)
    prepare.run(jobs, "digits")
    for run in (RUN.control, RUN):
        if not run.is_clean:
            poison.run(jobs, run)
        train.run(jobs, run)
        defend.run(jobs, run, "clp")
    for job, each in zip(jobs.of("analyze"), jobs.plan.analyses, strict=True):
        read = _watched(monkeypatch)
        analyze.run(jobs, *each)
        assert read == set(job.inputs), job.name
        assert all(path.is_file() for path in job.outputs), job.name
    moved = artifacts.read_table(layout.analysis(RUN, "moved", "parquet", "clp"))
    assert moved["defense"].tolist() == ["clp"]
    poisons = artifacts.read_table(layout.analysis(RUN, "shares", "parquet"))["poison"]
    assert poisons.tolist() == [round(0.1 * 1146)]
    beside = artifacts.read_table(layout.analysis(RUN, "beside", "parquet"))
    assert float(beside["victim"].iloc[0]) > 0.8 > 0.2 > float(beside["clean"].iloc[0])
    radar = artifacts.read_table(layout.analysis(RUN, "radar", "parquet", "clp")).iloc[-1]
    for folder, column in ((layout.victim(RUN), "training_seconds"), (CELL, "seconds")):
        assert radar[column] == artifacts.read_json(folder / "provenance.json")["seconds"] > 0
    hits = {of: _on_target(of) for of in (None, layout.CLEAN_MODEL, "clp")}
    assert hits[None] > 0.8 > 0.2 > hits[layout.CLEAN_MODEL]
    clp = models.load(layout.defended(RUN, "clp"))
    triggered = RunInputs(jobs, RUN).triggered
    expected = inference.accuracy(clp, triggered.images, triggered.targets)
    assert hits["clp"] == pytest.approx(expected)


def _on_target(of: str | None) -> float:
    """The share of triggered images in the target's column of a confusion matrix."""
    table = artifacts.read_table(layout.analysis(RUN, "confusion", "parquet", of))
    triggered = table[table["split"] == "triggered"]
    hit = triggered.loc[triggered["predicted"] == 0, "count"].sum()
    return float(hit / triggered["count"].sum())


def _watched(monkeypatch: pytest.MonkeyPatch) -> set[Path]:
    """Every artefact that is read from now on."""
    read: set[Path] = set()

    def watched(original: Any) -> Any:
        def watch(path: Path, *arguments: Any) -> Any:
            read.add(path)
            return original(path, *arguments)

        return watch

    for name in ("read_tensors", "read_json"):
        monkeypatch.setattr(artifacts, name, watched(getattr(artifacts, name)))
    return read
