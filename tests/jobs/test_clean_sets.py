"""Several clean sets: what is planned, what is shared, and what one of them leaves as it is."""

from typing import Any

import pytest
import yaml

from bdb import layout, params, presets
from bdb.errors import ParamsError
from bdb.jobs import catalogue, plan, plan_text
from bdb.jobs.job import Job
from bdb.jobs.jobs import Jobs
from bdb.layout import Run

CATALOGUE = catalogue.load()
RUN = Run("digits", "convnet", "badnets", "0.1", 0)
RESERVED = [{"source": "reserved", "fraction": fraction} for fraction in (0.01, 0.1, 0.02)]
SEEN = [{"source": "seen", "fraction": fraction} for fraction in (0.01, 0.05)]


def planned(clean_set: Any, defenses: dict[str, Any] | None = None, **grid: Any) -> Jobs:
    raw = yaml.safe_load(presets.text("smoke")) | {"clean_set": clean_set}
    raw["grid"] |= {"attack": ["none", "badnets"], "defense": ["ft", "ac", "clp"]} | grid
    raw["defenses"] = defenses or {}
    return Jobs(plan.make(params.parse(raw, CATALOGUE), CATALOGUE))


def facts(job: Job) -> tuple[Any, ...]:
    return job.command, job.params, job.inputs, job.outputs


def test_a_defense_that_needs_clean_images_has_a_cell_for_each_set_and_others_have_one() -> None:
    jobs = planned(RESERVED + SEEN)
    assert jobs.plan.defenses[RUN] == (
        "ft@reserved-0.01",
        "ft@reserved-0.1",
        "ft@reserved-0.02",
        "ft@seen-0.01",
        "ft@seen-0.05",
        "ac",
        "clp",
    )
    assert len(jobs.plan.cells) == 2 * 7
    assert len(list(jobs.of("train"))) == len(list(jobs.of("clean"))) == 1
    assert layout.cell(RUN, "ft@seen-0.01").parts[-2:] == ("s0", "ft@seen-0.01")


@pytest.mark.parametrize("source", ["reserved", "seen", "ood"])
def test_a_list_of_one_is_that_one(source: str) -> None:
    one = {"source": source, "fraction": 0.1}
    defense = {"defense": ["ft", "ac", "scan"], "analysis": ["tsne", "radar"]}
    alone, listed = planned(one, **defense), planned([one], **defense)
    assert list(map(facts, alone)) == list(map(facts, listed))
    assert set(alone.plan.defenses[RUN]) == {"ft", "ac", "scan"}


def test_what_is_kept_from_victims_is_the_largest_that_is_reserved() -> None:
    many, one = planned(RESERVED + SEEN), planned(RESERVED[1])
    for stage in ("prepare", "clean", "poison", "train"):
        assert list(map(facts, many.of(stage))) == list(map(facts, one.of(stage)))


def test_victims_that_see_everything_hang_on_no_size() -> None:
    many, fewer = planned(SEEN), planned([*SEEN[:1], {"source": "seen"}])
    plain = planned({"source": "seen"})
    for stage in ("clean", "poison", "train"):
        assert list(map(facts, many.of(stage))) == list(map(facts, plain.of(stage)))
        assert list(map(facts, fewer.of(stage))) == list(map(facts, plain.of(stage)))


def test_a_cell_hangs_on_its_own_set_and_on_what_victims_are_given() -> None:
    job = planned(RESERVED + SEEN).defend(RUN, "ft@seen-0.05")
    assert job.params["clean_set"] == {"source": "seen", "fraction": 0.05}
    assert job.params["clean_set.fraction"] == 0.1
    assert facts(job) == facts(planned(RESERVED[1:] + SEEN[1:]).defend(RUN, "ft@seen-0.05"))
    assert facts(job) != facts(planned(RESERVED[:1] + SEEN[1:]).defend(RUN, "ft@seen-0.05"))
    assert "clean_set" not in planned(RESERVED + SEEN).defend(RUN, "clp").params


def test_a_cell_that_needs_a_set_is_none_without() -> None:
    with pytest.raises(ParamsError, match=r"^defend: ft has a cell per clean set, as ft@seen-0.01"):
        planned(SEEN).defend(RUN, "ft")


def test_a_cell_hangs_on_the_fields_of_its_defense() -> None:
    fields = {"ft": {"lr": 0.2}, "own": {"method": "ft", "lr": 0.3}}
    jobs = planned(SEEN, fields, defense=["ft", "own"])
    assert jobs.defend(RUN, "ft@seen-0.05").params["defenses.ft"] == {"lr": 0.2}
    assert jobs.defend(RUN, "own@seen-0.05").params["defenses.own"] == fields["own"]
    assert jobs.settings.make("defense", "own@seen-0.05").lr == 0.3  # type: ignore[attr-defined]


def test_another_data_set_is_read_by_the_cells_that_draw_on_it_alone() -> None:
    foreign = {"source": "ood", "dataset": "letters", "fraction": 0.05}
    jobs = planned([foreign, *SEEN])
    there = layout.prepared("letters", "train")
    assert there in jobs.defend(RUN, "ft@ood-letters-0.05").inputs
    assert there not in jobs.defend(RUN, "ft@seen-0.05").inputs
    assert there not in jobs.defend(RUN, "clp").inputs
    assert {job.arguments for job in jobs.of("prepare")} == {("digits",), ("letters",)}


def test_features_are_extracted_once_for_all_sets() -> None:
    jobs = planned(RESERVED + SEEN, defense=["ac", "scan"])
    (job,) = (job for job in jobs.of("features") if job.arguments == (str(RUN),))
    assert job.params["clean_set"] == RESERVED + SEEN
    assert jobs.defend(RUN, "scan@seen-0.05").inputs[-1] == layout.features(RUN)


def test_variations_are_compared_under_the_same_set() -> None:
    around = {"around": {"method": "ft", "vary": ["lr"]}, "cut": {"method": "clp", "vary": ["u"]}}
    jobs = planned(SEEN, around, defense=["around", "cut"])
    pairs = {(each.name, each.of) for each in jobs.settings.variations}
    assert ("around__lr_half@seen-0.01", "around@seen-0.01") in pairs
    assert ("cut__u_twice", "cut") in pairs
    assert len(pairs) == 2 * 2 + 2


def test_each_cell_has_its_pictures() -> None:
    jobs = planned(SEEN, analysis=["radar"])
    wanted = (str(RUN), "radar", "ft@seen-0.01")
    (job,) = (job for job in jobs.of("analyze") if job.arguments == wanted)
    assert layout.defended(RUN, "ft@seen-0.01") in job.inputs
    assert job.outputs[0].parts[-2:] == ("ft@seen-0.01", "radar.svg")


def test_check_names_the_sets_once() -> None:
    said = plan_text.overview(planned(SEEN).plan)
    assert "a cell for each of the clean sets seen-0.01, seen-0.05\n" in said
    assert "defenses: ft, ac, clp\n" in said
    assert "instances" not in said


def test_shares_of_sets_without_a_size_are_their_data_sets() -> None:
    jobs = planned([{"source": "reserved"}, {"source": "ood", "severity": 0.7, "fraction": 0.1}])
    assert jobs.plan.given == {
        ("digits", "ft@reserved"): ("reserved", 0.2),
        ("digits", "ft@ood-shift0.7-0.1"): ("ood-shift0.7", 0.1),
    }
    assert "clean_set.fraction" not in jobs.train(RUN).params  # the largest is the default one
    assert planned(RESERVED[0]).plan.given == {}


@pytest.mark.parametrize(
    ("clean_set", "said"),
    [
        ([SEEN[0], SEEN[0]], "clean_set: seen-0.01 stands twice; name it once"),
        ([SEEN[0], {"fraction": 2.0}], "clean_set.1.fraction: 2.0 is not allowed: "),
        ([SEEN[0], {"sourse": "seen"}], "key 'clean_set.1.sourse' is not known; did you mean"),
        ([SEEN[0], {"fraction": 0.0}], "clean_set.1.fraction: 0 is not allowed: defense 'ft'"),
        ([SEEN[0], {"dataset": "letters"}], "clean_set.1.dataset: 'letters' is not allowed with"),
        (
            [{"fraction": 0.4}, {"source": "seen", "fraction": 0.7}],
            "clean_set.1.fraction: 0.7 is not allowed: 0.4 of digits are kept from victims, which "
            "see the rest; at most 0.6",
        ),
        ([], "clean_set: [] is not allowed: "),
        ("seen", "clean_set: 'seen' is not allowed: it should be a mapping"),
    ],
)
def test_a_mistake_is_one_line_that_names_the_set(clean_set: Any, said: str) -> None:
    with pytest.raises(ParamsError) as refused:
        planned(clean_set)
    assert str(refused.value).startswith(f"params.yaml: {said}")
    assert "\n" not in str(refused.value)


def test_several_sets_count_where_a_plan_is_too_large(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(params, "MAX_JOBS", 2 * (1 + 5 + 2) - 1)
    planned(SEEN, analysis=[], defense=["ft", "clp"])
    with pytest.raises(ParamsError, match="16 jobs are more than the 15"):
        planned(RESERVED + SEEN, analysis=[], defense=["ft", "ac", "clp"])


def test_the_preset_shares_its_victims() -> None:
    raw = yaml.safe_load(presets.text("clean_sets"))
    jobs = Jobs(plan.make(params.parse(raw, CATALOGUE), CATALOGUE))
    assert len(jobs.plan.runs) == 9
    assert len(jobs.plan.cells) == 9 * (3 * 12 + 1)
