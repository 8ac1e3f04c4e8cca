import math

import pandas as pd
import pytest

from bdb.report import compare_text, ordering

VICTIM = {
    "dataset": "cifar10",
    "model": "preactresnet18",
    "attack": "badnets",
    "poison_ratio": 0.1,
    "recipe": "fast",
    "clean_set": "reserved",
    "setting": "preactresnet18.width=16",
    "failed_attack": False,
}


def table(
    measured: dict[str, float], published: dict[str, float], **changes: object
) -> pd.DataFrame:
    """ASR by defense, here and there."""
    rows = [
        VICTIM
        | {"defense": name, "asr": asr, "published_asr": published.get(name, math.nan)}
        | {"comparison": "other setting"}
        | changes
        for name, asr in measured.items()
    ]
    return pd.DataFrame(rows)


MEASURED = {"none": 0.9, "ft": 0.1, "nad": 0.15, "fp": 0.5, "clp": 0.8}
PUBLISHED = {"none": 1.0, "ft": 0.02, "nad": 0.3, "fp": 0.6, "clp": 0.7}


def test_the_same_order_is_found_though_figures_differ() -> None:
    (row,) = ordering.compare_orders(table(MEASURED, PUBLISHED), 0.2).to_dict("records")
    assert row["measured"] == "ft nad"
    assert row["published"] == "ft"
    assert (row["agree"], row["cells"], row["tau"]) == (3, 4, pytest.approx(1))
    opposite = {name: 1 - asr for name, asr in MEASURED.items()} | {"none": 0.9}
    (row,) = ordering.compare_orders(table(opposite, PUBLISHED), 0.2).to_dict("records")
    assert row["tau"] == pytest.approx(-1)


def test_the_limit_moves_with_the_option() -> None:
    (row,) = ordering.compare_orders(table(MEASURED, PUBLISHED), 0.55).to_dict("records")
    assert row["measured"] == "ft nad fp"
    assert row["published"] == "ft nad"


@pytest.mark.parametrize(("here", "there"), [(0.1, 1.0), (0.9, 0.1), (math.nan, 1.0)])
def test_an_attack_that_does_not_work_undefended_is_left_out(here: float, there: float) -> None:
    cells = table(MEASURED | {"none": here}, PUBLISHED | {"none": there})
    orders = ordering.compare_orders(cells, 0.2)
    assert orders.empty
    assert compare_text.agreement(orders).startswith("no attack")


def test_unreliable_and_unpublished_cells_are_left_out() -> None:
    cells = table(MEASURED, PUBLISHED)
    cells.loc[cells["defense"] == "clp", "comparison"] = "unreliable"
    cells.loc[cells["defense"] == "fp", "published_asr"] = math.nan
    (row,) = ordering.compare_orders(cells, 0.2).to_dict("records")
    assert (row["agree"], row["cells"]) == (1, 2)


def test_a_defenses_own_fields_do_not_part_it_from_its_victim() -> None:
    cells = table(MEASURED, PUBLISHED)
    is_ft = cells["defense"] == "ft"
    cells.loc[is_ft, "setting"] = "preactresnet18.width=16 ft.epochs=10"
    assert ordering.compare_orders(cells, 0.2)["cells"].tolist() == [4]
    cells.loc[is_ft, "setting"] = "preactresnet18.width=32"
    assert ordering.compare_orders(cells, 0.2)["cells"].tolist() == [3]


def test_victims_of_other_kinds_stay_apart() -> None:
    both = pd.concat([table(MEASURED, PUBLISHED), table(MEASURED, PUBLISHED, recipe="paper")])
    orders = ordering.compare_orders(both, 0.2)
    assert orders["recipe"].tolist() == ["fast", "paper"]
    assert compare_text.agreement(orders) == "6 of 8 cells agree (75 %), 2 attacks, mean tau 1.00"


def test_one_defense_has_no_order_and_equal_figures_have_none_either() -> None:
    one = ordering.compare_orders(table({"none": 1.0, "ft": 0.1}, PUBLISHED), 0.2)
    assert math.isnan(one["tau"][0])
    same = {"none": 1.0, "ft": 0.0, "nad": 0.0}
    assert math.isnan(ordering.compare_orders(table(same, PUBLISHED), 0.2)["tau"][0])
    assert compare_text.agreement(one) == "1 of 1 cells agree (100 %), 1 attack"
