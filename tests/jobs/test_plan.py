from dataclasses import replace
from typing import Any

import pytest
import yaml

from bdb import params, presets
from bdb.errors import ParamsError
from bdb.jobs import catalogue, plan, plan_text
from bdb.jobs.catalogue import Catalogue
from bdb.jobs.plan import Plan
from bdb.layout import Run

CATALOGUE = catalogue.load()


def planned(**grid: Any) -> Plan:
    raw = yaml.safe_load(presets.text("demo"))
    raw["grid"] |= grid
    return plan.make(params.parse(raw, CATALOGUE), CATALOGUE)


def test_the_clean_control_is_one_run_per_seed_whatever_the_ratios() -> None:
    made = planned(attack=["none", "badnets"], poison_ratio=[0.1, 0.05], seed=[0, 1])
    assert [str(run) for run in made.runs] == [
        "digits/convnet/none/0/s0",
        "digits/convnet/none/0/s1",
        "digits/convnet/badnets/0.1/s0",
        "digits/convnet/badnets/0.1/s1",
        "digits/convnet/badnets/0.05/s0",
        "digits/convnet/badnets/0.05/s1",
    ]


def test_an_attack_has_the_ratios_of_the_last_pattern_that_matches() -> None:
    ratios = {"*": [0.1], "b*": [0.05, 0.01], "blended": [0.2]}
    made = planned(attack=["none", "wanet", "badnets", "blended"], poison_ratio=ratios)
    assert [(run.attack, run.ratio) for run in made.runs] == [
        ("none", "0"),
        ("wanet", "0.1"),
        ("badnets", "0.05"),
        ("badnets", "0.01"),
        ("blended", "0.2"),
    ]


def test_the_control_needs_no_ratio() -> None:
    made = planned(attack=["none", "sig"], poison_ratio={"sig": [0.05]})
    assert [run.ratio for run in made.runs] == ["0", "0.05"]


def test_every_run_meets_every_defense() -> None:
    made = planned(attack=["badnets"], defense=["ft", "strip"])
    run = Run("digits", "convnet", "badnets", "0.1", 0)
    assert made.cells == ((run, "ft"), (run, "strip"))
    assert made.defenses == {run: ("ft", "strip")}


@pytest.mark.parametrize(
    ("fields", "left"), [({"margin": 29}, None), ({"margin": 40}, "40 \\+ 3 needs images of 43")]
)
def test_a_patch_outside_the_image_is_refused_before_anything_runs(
    fields: dict[str, int], left: str | None
) -> None:
    raw = yaml.safe_load(presets.text("demo"))
    raw["attacks"]["badnets"] = fields
    settings = params.parse(raw, CATALOGUE)
    if left is None:
        assert plan.make(settings, CATALOGUE).runs
        return
    with pytest.raises(ParamsError, match=rf"^attacks\.badnets\.margin \+ patch_size: {left}"):
        plan.make(settings, CATALOGUE)


def test_the_size_of_ones_own_images_is_known_from_its_field() -> None:
    raw = yaml.safe_load(presets.text("demo"))
    raw["grid"] |= {"dataset": ["folder"], "attack": ["badnets"]}
    raw["datasets"] = {"folder": {"size": 8}}
    raw["attacks"] = {"badnets": {"patch_size": 9}}
    with pytest.raises(ParamsError, match="but these are 8 x 8"):
        plan.make(params.parse(raw, CATALOGUE), CATALOGUE)


def with_fields(attack: str, **fields: Any) -> Plan:
    raw = yaml.safe_load(presets.text("demo"))
    raw["grid"] |= {"attack": [attack], "poison_ratio": [0.1, 0.3]}
    raw["attacks"] = {attack: fields}
    return plan.make(params.parse(raw, CATALOGUE), CATALOGUE)


def test_a_source_specific_attack_cannot_poison_more_than_its_classes() -> None:
    made = with_fields("badnets", source_classes=[1, 2])
    (left,) = made.left_out
    assert left.what == "digits/convnet/badnets/0.3/s0"
    assert "poisons source classes alone" in left.reason
    assert not with_fields("badnets", source_classes=[1, 2, 3, 4]).left_out


@pytest.mark.parametrize("key", ["targets", "source_classes", "cover_classes"])
def test_a_class_that_the_data_lack_is_named_with_its_field(key: str) -> None:
    with pytest.raises(
        ParamsError, match=rf"^attacks\.badnets\.{key}: 12 is not a class of digits"
    ):
        with_fields("badnets", **{key: [3, 12]})


def test_a_negative_class_is_named_at_its_place() -> None:
    with pytest.raises(ParamsError, match=r"attacks\.badnets\.targets\.1: -2 is less"):
        with_fields("badnets", targets=[3, -2, 4])


def test_a_clean_label_attack_cannot_poison_more_than_its_class() -> None:
    made = planned(attack=["none", "sig"], poison_ratio=[0.05, 0.2])
    (left,) = made.left_out
    assert left.what == "digits/convnet/sig/0.2/s0"
    assert "keeps labels clean: 229 poisons, but class" in left.reason
    assert left.what in plan_text.overview(made)


def test_a_ratio_that_poisons_nothing_is_left_out() -> None:
    made = planned(attack=["none", "badnets"], poison_ratio=[0.1, 0.0001])
    assert [left.reason for left in made.left_out] == ["0.0001 of 1146 training images is none"]


def test_several_products_are_planned_as_their_union_and_nothing_twice() -> None:
    raw = yaml.safe_load(presets.text("demo"))
    one = raw["grid"] | {"attack": ["badnets"], "defense": ["ft"], "analysis": ["triggers"]}
    two = one | {"attack": ["badnets", "blended"], "defense": ["ft", "clp"], "analysis": []}
    three = one | {"attack": ["blended"], "poison_ratio": [0.05], "defense": [], "analysis": []}
    raw["grid"] = [one, two, three]
    made = plan.make(params.parse(raw, CATALOGUE), CATALOGUE)
    badnets, blended, rarer = (
        Run("digits", "convnet", attack, ratio, 0)
        for attack, ratio in (("badnets", "0.1"), ("blended", "0.1"), ("blended", "0.05"))
    )
    assert made.runs == (badnets, blended, rarer)
    assert made.defenses == {badnets: ("ft", "clp"), blended: ("ft", "clp"), rarer: ()}
    assert made.analyses == ((badnets, "triggers", None),)


def test_a_cell_is_planned_if_any_product_has_it_and_left_out_once() -> None:
    raw = yaml.safe_load(presets.text("demo"))
    product = raw["grid"] | {"attack": ["none", "sig"], "poison_ratio": [0.2]}
    raw["grid"] = [product, product | {"defense": ["ft"]}]
    made = plan.make(params.parse(raw, CATALOGUE), CATALOGUE)
    (left,) = made.left_out
    assert left.what == "digits/convnet/sig/0.2/s0"


def test_an_empty_grid_is_a_mistake() -> None:
    with pytest.raises(ParamsError, match="the grid is empty: digits/convnet/sig/"):
        planned(attack=["sig"], poison_ratio=[0.9])


def test_the_plan_counts_the_share_of_the_images_that_is_used() -> None:
    raw = yaml.safe_load(presets.text("demo"))
    raw["grid"] |= {"dataset": ["cifar10"], "attack": ["sig"], "poison_ratio": [0.2]}
    raw |= {"datasets": {"cifar10": {"train_share": 0.2}}, "clean_set": {"source": "seen"}}
    with pytest.raises(ParamsError, match="2000 poisons, but class 0 has 1000 of 10000 images"):
        plan.make(params.parse(raw, CATALOGUE), CATALOGUE)


def test_cifar10_at_ten_percent_poisons_a_whole_class() -> None:
    made = planned(dataset=["cifar10"], attack=["sig"], poison_ratio=[0.1])
    assert not made.left_out


def changed(kind: str, name: str, **capabilities: Any) -> Catalogue:
    """The catalogue, with one method that can do otherwise."""
    entry = CATALOGUE.get(kind, name)
    entry = replace(entry, capabilities={**entry.capabilities, **capabilities})
    table = {**CATALOGUE.entries[kind], name: entry}
    return replace(CATALOGUE, entries={**CATALOGUE.entries, kind: table})


def test_an_attack_without_a_ratio_has_one_run() -> None:
    raw = yaml.safe_load(presets.text("demo"))
    raw["grid"] |= {"attack": ["badnets", "sig"], "poison_ratio": {"sig": [0.05]}}
    known = changed("attack", "badnets", uses_ratio=False)
    made = plan.make(params.parse(raw, known), known)
    assert [str(run) for run in made.runs] == [
        "digits/convnet/badnets/0/s0",
        "digits/convnet/sig/0.05/s0",
    ]
    assert Run.parse("digits/convnet/badnets/0/s0") == made.runs[0]
    assert not made.runs[0].is_clean


def test_a_defense_without_anything_to_act_on_is_left_out_with_the_reason() -> None:
    """A transformer has no batch norm: `clp` would give the victim's figures under its own name."""
    made = planned(model=["vit_b_16"], attack=["badnets"], defense=["clp", "anp", "nad", "ft"])
    assert [name for _, name in made.cells] == ["nad", "ft"]
    run = "digits/vit_b_16/badnets/0.1/s0"
    assert [(part.what, part.reason) for part in made.left_out] == [
        (f"{run} clp", "clp acts on batch norm, and vit_b_16 has none"),
        (f"{run} anp", "anp acts on batch norm, and vit_b_16 has none"),
    ]


def test_what_the_victim_of_an_attack_hides_is_nothing_to_act_on_either() -> None:
    raw = yaml.safe_load(presets.text("demo"))
    raw["grid"] |= {"attack": ["trojannet"], "defense": ["fp", "ft"], "analysis": ["tsne"]}
    made = plan.make(params.parse(raw, CATALOGUE), CATALOGUE)
    assert [name for _, name in made.cells] == ["ft"]
    run = "digits/convnet/trojannet/0/s0"
    assert [(part.what, part.reason) for part in made.left_out] == [
        (f"{run} fp", "fp acts on features, and the victim of trojannet has none"),
        (f"{run} tsne", "tsne acts on features, and the victim of trojannet has none"),
    ]


@pytest.mark.parametrize(
    ("attack", "ratio", "defense", "adaptive"),
    [
        ("grond", 0.1, "clp", True),  # both are about weights
        ("grond", 0.1, "ac", False),
        ("adap_blend", 0.1, "ac", True),
        ("adap_blend", 0.1, "strip", True),
        ("badnets", 0.1, "ac", False),
        ("badnets", 0.01, "ac", True),  # next to no poison
        ("none", 0.0, "ac", False),
    ],
)
def test_an_attack_that_hides_where_a_defense_looks_is_adaptive(
    attack: str, ratio: float, defense: str, adaptive: bool
) -> None:
    run = Run("digits", "convnet", attack, f"{ratio:g}", 0)
    assert planned().is_adaptive(run, defense) is adaptive


def test_an_analysis_of_maps_needs_maps() -> None:
    raw = yaml.safe_load(presets.text("demo"))
    known = changed("model", "convnet", offers=["batch_norm", "features"])
    made = plan.make(params.parse(raw, known), known)
    assert {tool for _, tool, _ in made.analyses} == {"triggers", "tsne", "confusion"}
    assert "nad" not in {name for _, name in made.cells}


def test_a_defense_that_compares_classes_needs_enough_of_them() -> None:
    raw = yaml.safe_load(presets.text("demo"))
    known = changed("dataset", "digits", class_counts=[500, 500])
    made = plan.make(params.parse(raw, known), known)
    reasons = {part.reason for part in made.left_out}
    assert reasons == {"nc needs 3 classes or more, and digits has 2"}
