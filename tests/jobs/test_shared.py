"""What runs share, and who waits for it."""

from dataclasses import replace
from typing import Any

import pytest
import yaml

from bdb import layout, params, presets
from bdb.attacks.surrogates import Surrogate
from bdb.errors import ParamsError
from bdb.jobs import catalogue, plan, plan_text
from bdb.jobs.catalogue import Catalogue
from bdb.jobs.jobs import Jobs
from bdb.layout import Run

CATALOGUE = catalogue.load()
FIELD = {"other": {"type": "string", "default": ""}}


def with_badnets(**capabilities: Any) -> Catalogue:
    """The catalogue, with other class variables and a field `other` for badnets."""
    entry = CATALOGUE.get("attack", "badnets")
    schema = {**entry.schema, "properties": {**entry.schema["properties"], **FIELD}}
    changed = replace(entry, capabilities=entry.capabilities | capabilities, schema=schema)
    attacks = CATALOGUE.entries["attack"] | {"badnets": changed}
    return Catalogue({**CATALOGUE.entries, "attack": attacks}, CATALOGUE.sources)


def planned(
    known: Catalogue = CATALOGUE, attacks: dict[str, Any] | None = None, **grid: Any
) -> Jobs:
    raw = yaml.safe_load(presets.text("smoke")) | {"attacks": attacks or {}}
    raw["grid"] |= grid
    return Jobs(plan.make(params.parse(raw, known), known))


def arguments(jobs: Jobs, stage: str) -> list[tuple[str, ...]]:
    return [job.arguments for job in jobs.of(stage)]


def test_the_ratios_of_lf_share_one_trigger() -> None:
    jobs = planned(attack=["lf", "badnets"], poison_ratio=[0.1, 0.05])
    assert arguments(jobs, "trigger") == [("digits/convnet/lf/0/s0",)]
    path = layout.trigger(Run("digits", "convnet", "lf", "0", 0))
    assert str(path) == "results/triggers/digits/convnet/lf/s0/trigger.safetensors"
    readers = [job.arguments[0] for job in jobs if path in job.inputs]
    assert readers == ["digits/convnet/lf/0.1/s0", "digits/convnet/lf/0.05/s0"]


def test_the_ratio_is_no_part_of_a_triggers_identity() -> None:
    few, other = (planned(attack=["lf"], poison_ratio=[ratio]) for ratio in (0.01, 0.1))
    assert list(few.of("trigger")) == list(other.of("trigger"))


def test_a_trigger_waits_for_the_clean_model() -> None:
    (job,) = planned(attack=["lf"]).of("trigger")
    assert layout.model(Run("digits", "convnet", "none", "0", 0)) in job.inputs


@pytest.mark.parametrize(
    ("depends_on", "expected"),
    [
        (["model", "seed"], ["convnet/badnets/0/s0", "convnet/badnets/0/s1"]),
        (["seed"], ["any/badnets/0/s0", "any/badnets/0/s1"]),
        (["model"], ["convnet/badnets/0/s0"]),
        ([], ["any/badnets/0/s0"]),
    ],
)
def test_a_trigger_is_made_for_what_it_depends_on(
    depends_on: list[str], expected: list[str]
) -> None:
    known = with_badnets(shares_trigger=True, trigger_depends_on=depends_on)
    jobs = planned(known, seed=[0, 1])
    assert arguments(jobs, "trigger") == [(f"digits/{run}",) for run in expected]
    assert {Run.parse(f"digits/{run}") for run in expected} <= jobs.known_runs


def test_surrogates_of_the_same_description_are_one_job() -> None:
    robust = Surrogate(eps=8, steps=7).model_dump()
    known = with_badnets(surrogates={"robust": robust, "strong": robust})
    jobs = planned(known, poison_ratio=[0.1, 0.05])
    (job,) = jobs.of("surrogate")
    assert job.arguments == ("digits/convnet/none/0/s0", "linf8-steps7")
    path = layout.SURROGATES / "digits/convnet/linf8-steps7/s0/model.safetensors"
    assert job.outputs == (path, path.with_name("provenance.json"))
    assert [path in job.inputs for job in jobs.of("poison")] == [True, True]


def test_a_surrogate_that_is_a_clean_model_is_trained_as_one() -> None:
    named = {
        "second": Surrogate(seed=1).model_dump(),
        "other": Surrogate(model="preactresnet18").model_dump(),
    }
    jobs = planned(with_badnets(surrogates=named))
    assert list(jobs.of("surrogate")) == []
    assert arguments(jobs, "clean") == [
        ("digits/convnet/none/0/s1",),
        ("digits/preactresnet18/none/0/s0",),
    ]


def test_foreign_data_are_prepared_and_read() -> None:
    foreign = {"twin": Surrogate(foreign=True).model_dump()}
    known = with_badnets(foreign_field="other", surrogates=foreign)
    jobs = planned(known, {"badnets": {"other": "cifar10"}})
    assert arguments(jobs, "prepare") == [("digits",), ("cifar10",)]
    (poison,), (surrogate,) = jobs.of("poison"), jobs.of("surrogate")
    assert layout.prepared("cifar10", "train") in poison.inputs
    assert layout.prepared("cifar10", "test") in surrogate.inputs
    assert surrogate.arguments == ("digits/convnet/none/0/s0", "on-cifar10")


def test_without_foreign_data_nothing_more_is_prepared() -> None:
    jobs = planned(with_badnets(foreign_field="other"))
    assert arguments(jobs, "prepare") == [("digits",)]


def test_an_unknown_foreign_data_set_is_named() -> None:
    jobs = planned(with_badnets(foreign_field="other"), {"badnets": {"other": "cifar11"}})
    with pytest.raises(ParamsError, match=r"^attacks\.badnets\.other: data set 'cifar11' is not"):
        list(jobs)


def test_every_job_comes_after_what_it_reads() -> None:
    named = {"robust": Surrogate(eps=8).model_dump(), "second": Surrogate(seed=3).model_dump()}
    known = with_badnets(shares_trigger=True, foreign_field="other", surrogates=named)
    jobs = planned(known, {"badnets": {"other": "cifar10"}}, attack=["badnets", "lf"])
    made: set[Any] = set()
    for job in jobs:
        assert made.issuperset(job.inputs), job.name
        made.update(job.outputs)


def test_check_counts_what_is_shared() -> None:
    robust = {"robust": Surrogate(eps=8).model_dump()}
    jobs = planned(with_badnets(surrogates=robust), attack=["badnets", "lf"])
    line = "shared: 1 clean model, 1 surrogate, 1 trigger, 1 data set"
    assert line in plan_text.overview(jobs.plan)
