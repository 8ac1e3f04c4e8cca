"""Names that params.yaml gives to methods, and the controls that join attacks by themselves."""

from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from bdb import params, presets, registry
from bdb.attacks.data_poisoning.badnets import BadNets
from bdb.errors import ParamsError, RegistryError
from bdb.jobs import catalogue, plan, plan_text, schema
from bdb.jobs.jobs import Jobs
from bdb.layout import Run
from bdb.report import setting

CATALOGUE = catalogue.load()
GRID = {
    "dataset": ["digits"],
    "model": ["convnet"],
    "attack": ["badnets"],
    "poison_ratio": [0.1],
    "seed": [0],
    "defense": [],
    "analysis": [],
}
INSTANCES = {
    "attacks": {"badnets_3": {"method": "badnets", "target": 3}, "badnets": {"target": 1}},
    "defenses": {"ft_long": {"method": "ft", "epochs": 200}},
    "models": {"wide": {"method": "convnet", "width": 32}},
}


def parsed(grid: Any = GRID, **sections: Any) -> params.Settings:
    raw = yaml.safe_load(presets.text("smoke")) | {"grid": grid} | sections
    return params.parse(raw, CATALOGUE)


def planned(grid: Any = GRID, **sections: Any) -> plan.Plan:
    return plan.make(parsed(grid, **sections), CATALOGUE)


def test_an_instance_stands_wherever_a_methods_name_does() -> None:
    grid = GRID | {"model": ["wide"], "attack": ["badnets", "badnets_3"], "defense": ["ft_long"]}
    made = planned(grid, **INSTANCES)
    names = ["badnets", "badnets_3"]
    assert made.runs == tuple(Run("digits", "wide", name, "0.1", 0) for name in names)
    assert [name for _, name in made.cells] == ["ft_long", "ft_long"]
    said = plan_text.overview(made)
    assert "instances: wide of convnet, badnets_3 of badnets, ft_long of ft" in said


def test_it_starts_from_the_methods_defaults_under_fields_of_its_own() -> None:
    settings = parsed(**INSTANCES)
    made, plain = (settings.make("attack", name) for name in ("badnets_3", "badnets"))
    assert type(made) is type(plain) is BadNets
    assert (made.target, plain.target) == (3, 1)  # type: ignore[attr-defined]
    assert settings.make("defense", "ft_long").epochs == 200  # type: ignore[attr-defined]


def test_a_glob_means_instances_too() -> None:
    grid = GRID | {"attack": ["bad*"]}
    assert [run.attack for run in planned(grid, **INSTANCES).runs] == ["badnets", "badnets_3"]


def test_its_jobs_follow_the_methods_code_and_its_own_fields_alone() -> None:
    grid = GRID | {"attack": ["badnets", "badnets_3"]}
    plain, instance = Jobs(planned(grid, **INSTANCES)).of("poison")
    assert plain.code == instance.code
    assert instance.params["attacks.badnets_3"] == {"method": "badnets", "target": 3}
    assert "attacks.badnets" not in instance.params


def test_runs_without_instances_stay_what_they_were() -> None:
    lone, beside = (Jobs(planned(**sections)) for sections in ({}, INSTANCES))
    jobs = [next(jobs.of("prepare")) for jobs in (lone, beside)]
    assert (jobs[0].params, jobs[0].code) == (jobs[1].params, jobs[1].code)


def test_what_depends_on_a_methods_fields_sees_the_instances() -> None:
    """An extent, a target, clean labels: each is judged under the instance's fields."""
    grid = GRID | {"attack": ["far"]}
    far = {"far": {"method": "badnets", "margin": 40}}
    with pytest.raises(ParamsError, match=r"attacks\.far"):
        planned(grid, attacks=far)
    with pytest.raises(ParamsError, match=r"attacks\.far\.target"):
        planned(grid, attacks={"far": {"method": "badnets", "target": 12}})


WRONG: dict[str, tuple[dict[str, Any], str]] = {
    "no method": ({"attacks": {"x": {"method": "badnet"}}}, r"attacks\.x\.method: .*badnets"),
    "no name": ({"attacks": {"x": {"method": 3}}}, r"attacks\.x\.method: "),
    "unsaid": ({"attacks": {"x": {"target": 3}}}, r"attacks: .*`method: \.\.\.`"),
    "a method's name": ({"attacks": {"sig": {"method": "badnets"}}}, "that of the attack sig"),
    "another kind's name": ({"attacks": {"ft": {"method": "badnets"}}}, "that of the defense ft"),
    "no path": ({"attacks": {"a/b": {"method": "badnets"}}}, "a-z, 0-9 and _"),
    "a control's": ({"attacks": {"none_x": {"method": "badnets"}}}, "of controls"),
    "taken": ({"attacks": {"training": {"method": "badnets"}}}, "a meaning of its own"),
    "of none": ({"attacks": {"clean2": {"method": "none"}}}, "choose none_clean2"),
    "joins by itself": ({"attacks": {"none_wanet": {"method": "none"}}}, "the control that joins"),
    "a field": ({"attacks": {"x": {"method": "badnets", "size": 1}}}, r"attacks\.x: .*size"),
    "a value": ({"attacks": {"x": {"method": "badnets", "target": -1}}}, r"attacks\.x\.target: "),
    "lender": ({"attacks": {"none": {"trained_as": "wanett"}}}, r"none\.trained_as: .*wanet"),
}


@pytest.mark.parametrize("name", WRONG)
def test_a_mistake_is_one_line_that_names_the_key(name: str) -> None:
    sections, message = WRONG[name]
    with pytest.raises(ParamsError, match=message) as caught:
        parsed(**sections)
    assert "\n" not in str(caught.value)


def test_the_schema_knows_them() -> None:
    validator = Draft202012Validator(schema.make(CATALOGUE))
    raw = {"grid": GRID, **INSTANCES}
    assert not list(validator.iter_errors(raw))
    assert list(validator.iter_errors(raw | {"attacks": {"x": {"method": 3}}}))


def test_the_board_says_of_which_method_a_row_is() -> None:
    grid = GRID | {"attack": ["badnets_3"], "defense": ["ft_long"]}
    made = planned(grid, **INSTANCES)
    said = setting.describe(made, made.runs[0], "ft_long")
    assert "badnets_3.method=badnets badnets_3.target=3" in said
    assert setting.methods(said) == {"badnets_3": "badnets", "ft_long": "ft"}
    assert ".method=" not in setting.changes(said)


PUBLISHED = {"attacks": {"wanet": {"published_augmentation": True}}}


def test_an_attack_that_changes_the_training_brings_a_control_trained_so() -> None:
    grid = GRID | {"attack": ["none", "badnets", "wanet"], "defense": ["ft"]}
    made = planned(grid, **PUBLISHED)
    assert [run.attack for run in made.runs] == ["none", "none_wanet", "badnets", "wanet"]
    control = made.runs[1]
    assert (control.ratio, control.is_clean, control.is_shared) == ("0", True, False)
    assert (control, "ft") in made.cells
    jobs = Jobs(made)
    assert jobs.trained_as(control) == "wanet"
    train = jobs.train(control)
    assert train.params["attacks.wanet"] == PUBLISHED["attacks"]["wanet"]
    assert "results/victims/digits/convnet/none_wanet/0/s0/model.safetensors" in map(
        str, train.outputs
    )
    assert [job.arguments for job in jobs.of("clean")] == [(str(made.runs[0]),)]
    assert train in list(jobs.of("train"))
    assert [job.arguments for job in jobs.of("poison")] == [(str(run),) for run in made.runs[2:]]


def test_without_a_control_on_the_grid_or_a_change_there_is_none() -> None:
    grid = GRID | {"attack": ["none", "wanet"]}
    assert [run.attack for run in planned(grid).runs] == ["none", "wanet"]
    assert [run.attack for run in planned(GRID | {"attack": ["wanet"]}, **PUBLISHED).runs] == [
        "wanet"
    ]


def test_it_joins_every_product_in_which_its_attack_stands() -> None:
    products = [GRID | {"attack": ["none"]}, GRID | {"attack": ["wanet"], "defense": ["ft"]}]
    made = planned(products, **PUBLISHED)
    assert [run.attack for run in made.runs] == ["none", "none_wanet", "wanet"]
    assert [run.attack for run, _ in made.cells] == ["none_wanet", "wanet"]


def test_clean_models_may_be_trained_in_ways_of_their_own() -> None:
    """They are controls, and neither the clean model that attackers need nor anybody's own."""
    long = {"none_long": {"method": "none", "epochs": 40}}
    made = planned(GRID | {"attack": ["none", "none_long"], "defense": ["mm_bd"]}, attacks=long)
    run = made.runs[1]
    assert (run.attack, run.ratio, run.is_clean, run.is_shared) == ("none_long", "0", True, False)
    train = Jobs(made).train(run)
    assert train.params["attacks.none_long"] == long["none_long"]
    assert "results/victims/digits/convnet/none_long/0/s0/model.safetensors" in map(
        str, train.outputs
    )
    said = setting.describe(made, run, "none")
    assert said == "none_long.method=none none_long.epochs=40"


@pytest.mark.parametrize("name", ["none_x", "none_"])
def test_no_attack_is_registered_under_a_controls_name(name: str) -> None:
    with pytest.raises(RegistryError, match="of controls"):
        registry.register(name)(BadNets)
