"""`bdb compare` and `bdb keep` on a made-up board."""

import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from bdb import artifacts
from bdb.errors import ArtifactError, ParamsError
from bdb.report import board as boards
from bdb.report import compare, compare_text, kept, readme, tables

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def here(board: pd.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a board as `bdb report` writes it, and in which we are."""
    monkeypatch.chdir(tmp_path)
    write(board.assign(dataset="cifar10", model="preactresnet18"), tmp_path)
    return tmp_path


def write(board: pd.DataFrame, folder: Path) -> None:
    judged = board.assign(**compare.judge(board))
    artifacts.write_table(folder / "results" / "board.parquet", judged)
    path = folder / "results" / "board.csv"
    artifacts.write_text(path, tables.csv(boards.without_costs(judged)))


def write_board(board: pd.DataFrame) -> None:
    artifacts.write_table(Path("results/board.parquet"), board)


def test_a_row_is_a_mean_over_seeds(board: pd.DataFrame) -> None:
    table = compare.table(kept.read(["results/board.csv"]))
    assert len(table) == len(board) / 3
    assert set(table["seeds"]) == {3}
    row = table.query("attack == 'sig' and defense == 'ft'").iloc[0]
    cells = board.query("attack == 'sig' and defense == 'ft'")
    assert row["asr"] == pytest.approx(cells["asr"].mean(), abs=1e-6)
    assert row["published_asr"] == 0.0237


def test_other_settings_and_clean_sets_are_rows_of_their_own(board: Any) -> None:
    rows = kept.read(["results/board.csv"])
    other = [rows, rows.assign(clean_set="seen"), rows.assign(setting="training.epochs=2")]
    table = compare.table(pd.concat(other))
    assert len(table) == 3 * len(board) / 3
    assert set(table["seeds"]) == {3}


def test_a_kept_board_holds_all_but_the_comparison_and_counts_once() -> None:
    path = kept.keep("h100-2026")
    assert path == Path("results/boards/h100-2026.csv")
    text = pd.read_csv(path)
    full = artifacts.read_table(Path("results/board.parquet"))
    assert [*text.columns] == [name for name in full.columns if name not in compare.COLUMNS]
    provenance = {"device", "seconds", "memory_mb", "seed", "git", "torch", *compare.SETTING}
    assert provenance <= set(text.columns)
    assert text["seed"].dtype == int
    pd.testing.assert_frame_equal(kept.read(["h100-2026"]), kept.read(["results/board.csv"]))
    assert len(kept.read(["h100-2026", "results/board.csv"])) == len(full)


@pytest.mark.parametrize("name", ["", "../x", "a b", "A", "-x", "x" * 65])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ParamsError, match="lower-case letters"):
        kept.keep(name)


def test_a_kept_board_is_never_overwritten() -> None:
    before = kept.keep("it").read_bytes()
    with pytest.raises(ParamsError, match="is there already"):
        kept.keep("it")
    assert Path("results/boards/it.csv").read_bytes() == before


def test_rows_join_a_kept_board_and_replace_those_of_their_cell() -> None:
    kept.keep("it")
    board = artifacts.read_table(Path("results/board.parquet"))
    rows = board[board["defense"] == "ft"]
    renewed = rows.assign(asr=0.125, date="2026-11-25T12:00:00+00:00")
    others = rows.assign(defense="fst")
    write_board(pd.concat([others, renewed]))
    joined = pd.read_csv(kept.keep("it", add=True), keep_default_na=False)
    assert len(joined) == len(board) + len(others)
    replaced = joined[joined["defense"] == "ft"]
    assert set(replaced["asr"].astype(float)) == {0.125}
    assert set(replaced["date"]) == {"2026-11-25T12:00:00+00:00"}
    assert [*joined["defense"][: len(board)]] == [*board["defense"]]
    other = joined[~joined["defense"].isin(["ft", "fst"])]
    same = board[board["defense"] != "ft"]
    assert other["asr"].astype(float).tolist() == pytest.approx(same["asr"].tolist(), abs=1e-6)


def test_a_row_whose_control_was_kept_before_is_judged_by_it(board: pd.DataFrame) -> None:
    full = board.assign(dataset="cifar10", model="preactresnet18")
    control = full[full["attack"] == "none"]
    weak = full[full["attack"] == "sig"].assign(c_acc=0.01)
    write_board(control)
    kept.keep("it")
    write_board(weak)
    joined = pd.read_csv(kept.keep("it", add=True), keep_default_na=False)
    said = joined[joined["attack"] == "sig"]["validity"]
    assert said.str.contains("points below the control's").all()


def test_adding_to_a_board_that_is_not_there_keeps_it() -> None:
    assert kept.keep("new", add=True).read_text().startswith("dataset,")


BROKEN = {
    "no board": ("dataset,model\n1,2\n", "not a board of this version: no column 'attack'"),
    "empty": ("", "not CSV"),
    "bytes": ("\ud800", "not CSV"),
    "no number": (None, "damaged"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_file_that_is_no_board_is_named(name: str) -> None:
    text, message = BROKEN[name]
    text = Path("results/board.csv").read_text().replace(",0.1,", ",a,") if text is None else text
    Path("it.csv").write_bytes(text.encode(errors="surrogatepass"))
    with pytest.raises(ArtifactError, match=f"it.csv: {message}"):
        kept.read(["it.csv"])


def test_a_missing_board_comes_with_the_names_of_those_that_are_there() -> None:
    kept.keep("h100")
    with pytest.raises(ArtifactError, match=r"h10: no such board; kept are: h100"):
        kept.read(["h10"])


def test_names_and_empty_texts_are_read_as_they_are(here: Path, board: pd.DataFrame) -> None:
    write(board.assign(dataset="NA", attack="null"), here)
    rows = kept.read(["results/board.csv"])
    assert set(rows["dataset"]) == {"NA"}
    assert set(rows["attack"]) == {"null"}
    assert set(rows["setting"]) == {""}
    assert (here / "results" / "board.csv").read_text().count(",none,") > 0


def test_the_report_has_a_line_per_row_the_counts_and_the_order() -> None:
    table = compare.table(kept.read(["results/board.csv"]))
    text = compare_text.report(table, 0.2)
    first, _, rest = text.partition("\n\n")
    head, *lines = first.splitlines()
    assert len(lines) == len(table)
    assert head.split()[:5] == ["dataset", "model", "attack", "ratio", "defense"]
    (line,) = [line for line in lines if re.search(r"badnets +0\.1 +nc ", line)]
    assert re.search(r"fast +reserved +3 .* 89\.05 +1\.27 +89\.16 +within$", line)
    counted = compare_text.counts(table)
    assert sum(map(int, re.findall(r"\d+", counted))) == len(table)
    assert f"{counted}\n\nWhich defense stops which attack: ASR below 20 %" in rest
    assert re.search(r"\d+ of \d+ cells agree \(\d+ %\), 5 attacks, mean tau -?[01]\.\d\d\n$", text)


def test_markdown_has_the_same_cells() -> None:
    table = compare.table(kept.read(["results/board.csv"]))
    text = compare_text.report(table, 0.2, markdown=True)
    lines = [line for line in text.splitlines() if line.startswith("| cifar10")]
    assert len(lines) == len(table) + 5
    assert len({line.count(" | ") for line in lines[: len(table)]}) == 1


def test_a_page_says_once_what_all_rows_share() -> None:
    table = compare.table(kept.read(["results/board.csv"]))
    text = compare_text.page(table, 0.2)
    assert text.startswith("All rows: dataset cifar10, model preactresnet18, ")
    assert "| dataset |" not in text
    cells, _, orders = text.partition("Attacks stopped")
    assert cells.count("\n| ") == len(table) + 2  # header and rule
    assert orders.count("\n| ") == 5 + 2
    short = compare_text.page(table, 0.2, only_orders=True)
    assert short == f"Attacks stopped{orders}"


def test_a_matrix_has_what_was_measured_above_what_was_published() -> None:
    board = str(ROOT / "results" / "boards" / "cifar10-airbench94.csv")
    table = compare.table(kept.read([board]), "preactresnet18")
    table = table[table["attack"].isin(["none", "badnets"])]
    text = compare_text.matrix(table[table["defense"].isin(["none", "clp", "nad"])])
    assert "| ratio |  | none | clp | nad |" in text
    rates = table[table["attack"] == "badnets"].set_index("defense")[["c_acc", "asr"]]
    pairs = 100 * rates.loc[["none", "clp", "nad"]].to_numpy()
    here = " | ".join(f"{c_acc:.1f} / {asr:.1f}" for c_acc, asr in pairs)
    assert f"| badnets | 0.1 | here | {here} |\n| badnets | 0.1 | published | 91.3 / 95.0 |" in text
    assert "| no attack | – | here |" in text
    assert "| no attack | – | published |" not in text


@pytest.mark.parametrize("page", ["README.md", "docs/truth.md"])
def test_the_pages_hold_what_the_kept_board_says(page: str) -> None:
    text = (ROOT / page).read_text()
    begin, end = readme.markers("compare")
    board = str(ROOT / "results" / "boards" / "cifar10-airbench94.csv")
    table = compare.table(kept.read([board]), "preactresnet18")
    made = compare_text.page(table, 0.2, only_orders=page == "README.md")
    assert text.partition(begin)[2].partition(end)[0] == f"\n{made}", "run `make pages`"


def test_the_page_says_which_tolerances_hold() -> None:
    page = (ROOT / "docs" / "truth.md").read_text()
    rows = re.findall(r"^\| .*no defense.* \| ([\d.]+) \| (\d+) \|$", page, re.MULTILINE)
    rows += re.findall(r"^\| under a defense \| (\d+) \| (\d+) \|$", page, re.MULTILINE)
    said = {(float(c_acc), float(asr)) for c_acc, asr in rows}
    assert said == {(rule.c_acc, rule.asr) for rule in compare.rules().tolerances}
    assert all(f"| {status} |" in page for status in compare.STATUSES)


def test_the_commands(project: Any) -> None:
    write(artifacts.read_table(Path("results/board.parquet")), project.folder)
    program = (
        "import sys; sys.argv = ['bdb', 'compare', '--csv', 'it.csv']\n"
        "from bdb.cli import app\n"
        "try:\n    app()\n"
        "finally:\n    assert 'torch' not in sys.modules\n"
    )
    done = project.python(program)
    assert done.returncode == 0, done.stderr
    table = pd.read_csv(project.folder / "it.csv", keep_default_na=False)
    assert {*compare.KEYS, *compare.SETTING, "seeds", *compare.COLUMNS} <= set(table.columns)
    assert project.bdb("keep", "mine").stdout == "results/boards/mine.csv\n"
    assert project.bdb("keep", "mine", "--add").stdout == "results/boards/mine.csv\n"
    again = project.bdb("compare", "mine", "--markdown")
    assert again.stdout.startswith("| dataset |")
    for wrong in (["compare", "yours"], ["compare", "--stops", "0"], ["keep", "mine"]):
        failed = project.bdb(*wrong)
        assert failed.returncode == 2
        assert re.fullmatch(r"bdb: .+\n", failed.stderr)
