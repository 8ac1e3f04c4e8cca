import hashlib
from typing import Any

import pandas as pd
import pytest

from bdb.jobs import catalogue
from bdb.report import compare
from bdb.report.compare import OTHER, OUTSIDE, UNRELIABLE, WITHIN

PUBLISHED = compare.published().to_dict("records")
RULES = compare.rules()

# C-Acc, ASR, RA without a defense: what the leaderboard's pages show.
ANCHORS = {
    ("badnets", 0.1): (91.32, 95.03, 4.67),
    ("blended", 0.1): (93.47, 99.92, 0.08),
    ("lf", 0.1): (93.19, 99.28, 0.71),
    ("inputaware", 0.1): (90.67, 98.26, 1.66),
    ("wanet", 0.1): (91.25, 89.73, 9.76),
    ("sig", 0.05): (93.64, 97.09, 2.90),
}


def cell(**values: Any) -> dict[str, Any]:
    """BadNets on CIFAR-10 without a defense, as published, but for what is given."""
    usual = {
        "dataset": "cifar10",
        "model": "preactresnet18",
        "attack": "badnets",
        "poison_ratio": 0.1,
        "defense": "none",
        "recipe": "paper",
        "clean_set": "reserved",
        "setting": "",
        "c_acc": 0.9132,
        "asr": 0.9503,
    }
    return usual | values


def judged(*cells: dict[str, Any]) -> list[tuple[str, str]]:
    table = compare.judge(pd.DataFrame(cells))
    return list(zip(table["comparison"], table["reason"], strict=True))


@pytest.mark.parametrize(("attack", "ratio"), ANCHORS)
def test_the_anchors_are_as_published(attack: str, ratio: float) -> None:
    row = cell(attack=attack, poison_ratio=ratio)
    (found,) = compare.judge(pd.DataFrame([row])).to_dict("records")
    rates = [found[f"published_{name}"] for name in compare.RATES]
    assert rates == pytest.approx([value / 100 for value in ANCHORS[attack, ratio]])


def test_an_instance_is_compared_with_the_method_behind_its_name() -> None:
    """Of both kinds; only its other fields make it incomparable."""
    own = {"attack": "mine", "setting": "mine.method=badnets"}
    changed = own | {"setting": "mine.method=badnets mine.target=3"}
    cells = [cell(**own), cell(**changed), cell(defense="long", setting="long.method=ft")]
    table = compare.judge(pd.DataFrame(cells))
    assert list(table["published_asr"][:2]) == pytest.approx([0.9503, 0.9503])
    assert list(table["comparison"][:2]) == [WITHIN, OTHER]
    assert table["reason"][1] == "mine.target=3"
    (ft,) = compare.judge(pd.DataFrame([cell(defense="ft")])).to_dict("records")
    assert table["published_asr"][2] == ft["published_asr"]


def test_an_attack_without_a_ratio_is_compared_with_the_only_one_published() -> None:
    cells = [cell(attack="lira", poison_ratio=0.0), cell(attack="lira", poison_ratio=0.1)]
    found = compare.judge(pd.DataFrame(cells))["published_asr"]
    assert found[0] == found[1] > 0


def test_every_published_figure_is_a_rate_and_every_cell_stands_once() -> None:
    table = compare.published()
    rates = table[[f"published_{name}" for name in compare.RATES]]
    assert rates.notna().all().all()
    assert ((rates >= 0) & (rates <= 1)).all().all()
    # The rates of one set of images, each rounded to a hundredth of a point.
    assert (rates["published_asr"] + rates["published_ra"] <= 1.0005).all()
    assert not table.duplicated(compare.KEYS).any()
    assert set(table["source"]) == {"both", "csv", "html"}


def test_names_are_those_of_the_registry_and_fit_for_wildcards() -> None:
    table, known = compare.published(), catalogue.load()
    for kind in ("dataset", "model"):
        assert set(table[kind]) <= set(known.names(kind))
    both = {"badnets", "blended", "inputaware", "lf", "sig", "wanet"}
    assert both <= set(table["attack"]) & set(known.names("attack"))
    both = {"abl", "ac", "anp", "bnp", "clp", "ep", "fp", "ft", "nad", "nc", "spectral"}
    assert both <= set(table["defense"]) & set(known.names("defense"))
    for kind in ("attack", "defense"):
        assert table[kind].str.fullmatch("[a-z][a-z0-9_]*").all()


def test_the_identity_of_the_code_follows_the_data() -> None:
    data = [(compare.FOLDER / name).read_bytes() for name in ("leaderboard.csv", "rules.json")]
    assert hashlib.sha256(b"".join(data)).hexdigest() == compare.DATA_SHA256


@pytest.mark.parametrize(
    "rule",
    [*RULES.tolerances, *RULES.unreliable, *RULES.explains],
    ids=lambda rule: "-".join(map(str, rule.model_dump(exclude_defaults=True).values()))[:60],
)
def test_every_alternative_of_every_rule_matches_a_published_row(rule: compare.Rule) -> None:
    rows = [row | {"clean_set": rule.clean_set} for row in PUBLISHED]
    for name in compare.KEYS:
        for pattern in getattr(rule, name).split("|"):
            narrow = rule.model_copy(update={name: pattern})
            assert any(narrow.matches(row) for row in rows), f"{name}: {pattern}"


def test_reasons_are_whole_and_no_rule_stands_twice() -> None:
    rules = [*RULES.unreliable, *RULES.explains]
    assert all(len(rule.reason) > 5 and not rule.reason.endswith(".") for rule in rules)
    assert len({rule.model_dump_json() for rule in rules}) == len(rules)
    last = RULES.tolerances[-1].model_dump(exclude={"c_acc", "asr", "when"})
    assert set(last.values()) == {"*"}  # some tolerance holds for every cell


def test_within_tolerance_up_to_its_very_end() -> None:
    cells = [cell(c_acc=0.9132 - 0.007), cell(c_acc=0.9132 + 0.007), cell(asr=0.9503 - 0.02)]
    assert judged(*cells) == [(WITHIN, "")] * 3
    assert judged(cell(c_acc=0.9062 - 1e-5), cell(asr=0.9303 - 1e-5)) == [(OUTSIDE, "")] * 2


@pytest.mark.parametrize(
    ("attack", "ratio", "points"), [("badnets", 0.1, 2), ("sig", 0.05, 3), ("wanet", 0.1, 4)]
)
def test_each_attack_has_its_tolerance(attack: str, ratio: float, points: float) -> None:
    c_acc, asr, _ = (value / 100 for value in ANCHORS[attack, ratio])
    row = cell(attack=attack, poison_ratio=ratio, c_acc=c_acc)
    near, far = (row | {"asr": asr - (points + more) / 100} for more in (-0.1, 0.1))
    assert [status for status, _ in judged(near, far)] == [WITHIN, OUTSIDE]


def test_a_defended_row_may_be_ten_points_off() -> None:
    row = cell(defense="clp", c_acc=0.9007 - 0.099, asr=0.7756 + 0.099)
    assert judged(row) == [(WITHIN, "")]
    assert judged(row | {"asr": 0.7756 + 0.101})[0][0] == OUTSIDE


def test_a_gap_is_explained_in_the_direction_that_the_rule_knows_alone() -> None:
    row = cell(attack="wanet", c_acc=0.9125, asr=0.8973)
    above, below = judged(row | {"c_acc": 0.93}, row | {"c_acc": 0.89})
    assert above[0] == OUTSIDE
    assert above[1].startswith("C-Acc above: the reference's milestones never fire")
    assert below == (OUTSIDE, "")
    abl = cell(defense="abl", c_acc=0.8332, asr=0.0)
    lower, higher = judged(abl | {"c_acc": 0.7}, abl | {"c_acc": 0.94})
    assert "hard-coded rate of 1e-4" in lower[1]
    assert higher[1].startswith("C-Acc above: the reference's unlearning forgets class 0")


def test_both_metrics_are_explained_each_by_its_own() -> None:
    row = cell(defense="fp", c_acc=0.9131 + 0.11, asr=0.5713 + 0.2)
    ((status, reason),) = judged(row)
    assert status == OUTSIDE
    assert reason.startswith("C-Acc above: the reference chooses how far to prune")
    assert ". ASR above: the reference chooses" in reason


def test_the_clean_set_decides_what_can_explain_fine_tuning() -> None:
    row = cell(defense="ft", c_acc=0.8996, asr=0.3)
    (_, reserved), (_, seen) = judged(row, row | {"clean_set": "seen"})
    assert "clean originals" in reserved
    assert "clean originals" not in seen


def test_unreliable_comes_before_everything_else() -> None:
    cells = [cell(defense="ac"), cell(defense="ac", setting="training.epochs=2")]
    assert [status for status, _ in judged(*cells)] == [UNRELIABLE, UNRELIABLE]
    assert "random subset" in judged(*cells)[0][1]


def test_nc_is_unreliable_only_where_it_repeats_no_defense() -> None:
    same = cell(attack="blended", defense="nc", c_acc=0.9, asr=0.1)
    other = cell(defense="nc", c_acc=0.8905, asr=0.0127)
    assert [status for status, _ in judged(same, other)] == [UNRELIABLE, WITHIN]


def test_lf_is_reliable_on_preact_alone() -> None:
    models = ("preactresnet18", "vgg19_bn", "convnext_tiny", "vit_b_16")
    cells = [cell(attack="lf", model=name, c_acc=0.93, asr=0.99) for name in models]
    assert [status for status, _ in judged(*cells)] == [WITHIN, *[UNRELIABLE] * 3]


def test_what_was_changed_cannot_be_compared() -> None:
    assert judged(cell(setting="preactresnet18.width=16")) == [(OTHER, "preactresnet18.width=16")]


def test_another_network_is_beside_the_published_one_and_never_within() -> None:
    rows = pd.DataFrame([cell(model="airbench94"), cell(), cell(setting="ft.lr=1.0")])
    found = compare.judge(rows, beside="preactresnet18")
    assert found["published_asr"].tolist() == [0.9503] * 3
    assert list(zip(found["comparison"], found["reason"], strict=True)) == [
        (OTHER, "airbench94 beside preactresnet18"),
        (WITHIN, ""),
        (OTHER, "ft.lr=1.0"),
    ]
    assert compare.judge(rows)["published_asr"].isna().tolist() == [True, False, False]


def test_nothing_published_or_nothing_measured_says_nothing() -> None:
    nan = float("nan")
    cells = [cell(dataset="digits"), cell(attack="none", poison_ratio=0), cell(asr=nan)]
    assert judged(*cells) == [("", "")] * 3
    table = compare.judge(pd.DataFrame(cells, index=[7, 8, 9]))
    assert list(table.index) == [7, 8, 9]
    assert table["published_asr"].notna().tolist() == [False, False, True]


def test_a_frame_without_cells_gives_one_without_verdicts() -> None:
    none = compare.judge(pd.DataFrame([cell()]).iloc[:0])
    assert list(none.columns) == compare.COLUMNS
    assert none.empty
