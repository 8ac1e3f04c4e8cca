import json
import os
import re
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from itertools import islice
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pandas as pd
import pytest

from bdb.report import board as boards
from bdb.report import compare, findings, gallery, page, plots, sheet, significance
from bdb.report.gallery import Exhibit
from bdb.report.sheet import Column, Sheet

RUN = "digits/convnet/badnets/0.1/s0"
NOTHING: Mapping[str, Exhibit] = MappingProxyType({})
PIXEL = sheet.picture(np.full((1, 2, 2), 0.5))
SHEET = Sheet(
    rows=("trigger", "anomaly_index"),
    columns=(
        Column("0", is_target=True, is_suspected=True, cells=(PIXEL, "3.14")),
        Column("<i>", is_target=False, is_suspected=False, cells=(PIXEL, "-0.5")),
    ),
    left_out=8,
    path=Path("results/cells/it/evidence.safetensors"),
)
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--enable-logging=stderr",
    "--host-resolver-rules=MAP * ~NOTFOUND",
)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine")


def write(path: Path, board: pd.DataFrame, shown: Mapping[str, Exhibit] = NOTHING) -> None:
    """A page whose drawn pictures are not looked at."""
    page.write(path, findings.of(board), dict.fromkeys(("ranks", "stability", "roc"), PIXEL), shown)


def test_pictures_that_lie_beside_the_page_are_counted_and_loaded_late(
    tmp_path: Path, board: pd.DataFrame
) -> None:
    path = tmp_path / "index.html"
    write(path, board, {RUN: Exhibit(RUN, {"tsne": PIXEL, "umap": "../analyses/umap.svg"})})
    text = path.read_text()
    assert "Files beside this one hold 1 of the pictures" in text
    assert text.count('loading="lazy"') == 1
    write(path, board, {RUN: Exhibit(RUN, {"tsne": PIXEL})})
    text = path.read_text()
    assert "One file, no network" in text
    assert 'loading="lazy"' not in text


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, board) -> Path:
    """A page with two pictures of a run, and what a defense found in it."""
    folder = tmp_path_factory.mktemp("page")
    picture = folder / "triggers.svg"
    picture.write_text('<svg xmlns="http://www.w3.org/2000/svg"><text>stamp</text></svg>')
    uri = gallery.embed(picture)
    shown = {
        RUN: Exhibit(RUN, {"triggers": uri, "tsne": uri}),
        f"{RUN}/nc": Exhibit(f"{RUN} under nc", sheet=SHEET),
    }
    path = folder / "report" / "index.html"
    found = findings.of(board)
    pictures = {each.stem: gallery.embed(each) for each in plots.write(found, folder / "plots")}
    page.write(path, found, pictures, shown, {"recipe": "fast <b>&", "runs": "18"})
    return path


class Page(HTMLParser):
    """The tables, addresses and attributes of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tables: dict[str, list[list[str]]] = {}
        self.addresses: list[str] = []
        self.root: dict[str, str | None] = {}
        self.commands: list[str] = []
        self.reasons: list[str] = []
        self.console: list[str] = []
        self.requests: list[str] = []
        self._rows: list[list[str]] | None = None
        self._skip = False
        self.text = text
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = dict(attrs)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href")]
        self._skip = tag in ("script", "style")
        if tag == "html":
            self.root = values
        elif tag == "table":
            self._rows = self.tables.setdefault(values["id"] or "", [])
        elif tag == "tr" and self._rows is not None:
            self._rows.append([])
        elif tag in ("td", "th") and self._rows is not None:
            self._rows[-1].append("")
            self.reasons += [values["title"] or ""] if "title" in values else []
        elif tag == "code" and self._rows is not None:
            self.commands.append(values["title"] or "")

    def handle_endtag(self, tag: str) -> None:
        self._skip = False
        if tag == "table":
            self._rows = None

    def handle_data(self, data: str) -> None:
        if self._rows and self._rows[-1] and not self._skip:
            self._rows[-1][-1] += data

    def column(self, table: str, name: str) -> list[str]:
        head, *rows = self.tables[table]
        return [row[head.index(name)] for row in rows]


def _browse(path: Path, tmp_path: Path, state: str = "", script: str = "") -> Page:
    """Open a page in Chromium, run a script in it, and read what it has become."""
    if script:
        html = path.read_text().replace("</body>", f"<script>{script}</script></body>")
        path = tmp_path / "scripted.html"
        path.write_text(html)
    log = tmp_path / "net.json"
    command = [
        str(CHROMIUM),
        *FLAGS,
        f"--user-data-dir={tmp_path / 'profile'}",
        f"--log-net-log={log}",
        "--dump-dom",
        path.as_uri() + state,
    ]
    env = os.environ | {"HOME": str(tmp_path)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=env)
    found = Page(done.stdout)
    found.console = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    found.requests = _requests(log)
    return found


def _requests(log: Path) -> list[str]:
    """What was asked of the network for a page; the browser's own calls have no origin."""
    lines = [line for line in log.read_text().splitlines() if '"initiator":"' in line]
    asked = [line for line in lines if '"initiator":"not an origin"' not in line]
    return [url for line in asked for url in re.findall(r'"url":"((?:http|ws)s?://[^"]*)', line)]


def _open(path: Path, tmp_path: Path, state: str = "", script: str = "") -> Page:
    """The same for a page of ours, which must be ready, quiet and self-contained."""
    found = _browse(path, tmp_path, state, script)
    assert found.requests == []
    assert found.console == []
    assert found.root.get("data-ready") == "yes"
    assert "data-error" not in found.root
    return found


def test_it_is_one_file_without_outside_addresses(written: Path) -> None:
    found = Page(written.read_text())
    pictures = [name for name in found.addresses if name.startswith("data:image/svg+xml;base64,")]
    assert len(pictures) == 4  # two of the run, the ranks, and the curves of detectors
    assert all(address.startswith(("data:", "#")) for address in found.addresses)
    assert [path.name for path in written.parent.iterdir()] == ["index.html"]


def test_the_data_are_whole_and_cannot_leave_their_element(written: Path, board, summary) -> None:
    text = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', written.read_text()
    )
    assert text is not None
    assert "<" not in text[1]
    data = json.loads(text[1])
    for name, frame in {"board": board, "summary": summary}.items():
        assert data[name]["rows"] == len(frame)
        assert list(data[name]["columns"]) == list(frame.columns)
    columns = data["board"]["columns"]
    assert columns["command"] == {"values": board["command"].tolist()}
    assert columns["dataset"] == {"values": ["digits"], "at": []}
    assert columns["p_value"]["values"] == [None, 0.25]
    defenses = [columns["defense"]["values"][at] for at in columns["defense"]["at"]]
    assert defenses == board["defense"].tolist()


def test_facts_are_escaped(written: Path) -> None:
    assert "fast &lt;b&gt;&amp;" in written.read_text()


def test_what_was_found_is_a_table_with_the_true_target_marked(written: Path) -> None:
    found = Page(written.read_text())
    head, *rows = found.tables[f"{RUN}/nc/evidence"]
    assert [" ".join(cell.split()) for cell in head] == ["class", "0 true target suspected", "<i>"]
    assert [row[0].strip() for row in rows] == ["trigger", "anomaly index"]
    assert [cell.strip() for cell in rows[1][1:]] == ["3.14", "-0.5"]
    assert found.addresses.count(PIXEL) == 2
    assert "8 more in" in written.read_text()


def test_verdicts_on_models_have_a_section(written: Path) -> None:
    found = Page(written.read_text())
    head, nc = found.tables["population-1"]
    worth = dict(zip(head, nc, strict=True))
    assert (worth["detector"], worth["clean"], worth["backdoored"]) == ("nc", "3", "15")
    kinds = [row[1] for row in found.tables["population-2"][1:]]
    assert kinds == ["no attack", "badnets", "blended", "sig", "wanet", "badnets"]


@needs_chromium
def test_a_request_or_an_error_would_be_seen(tmp_path: Path) -> None:
    path = tmp_path / "loud.html"
    path.write_text('<img src="https://example.org/a.png"><script>missing();</script><body></body>')
    found = _browse(path, tmp_path)
    assert found.requests[0] == "https://example.org/a.png"
    assert "missing is not defined" in found.console[0]


@needs_chromium
def test_the_policy_keeps_the_page_from_the_network(written: Path, tmp_path: Path) -> None:
    script = "new Image().src = 'https://example.org/b.png'; fetch('https://example.org/c');"
    found = _browse(written, tmp_path, script=script)
    assert found.requests == []
    assert len(found.console) >= 2
    assert all("Content Security Policy" in line or "fetch" in line for line in found.console)


@needs_chromium
def test_the_page_fills_its_tables_and_draws_its_charts(
    written: Path, tmp_path: Path, board, summary
) -> None:
    found = _open(written, tmp_path)
    assert found.root["data-charts"] == "drawn"
    defenses = board["defense"].nunique()
    # C-Acc against ASR, ASR against seconds (of what is a defense), ASR against the ratio.
    assert found.text.count('<g class="trace scatter') == defenses + (defenses - 1) + defenses
    assert found.text.count('<g class="heatmap-label') == 2 * 5 * defenses
    assert 'class="modebar-btn"' in found.text
    assert 'data-title="Share' not in found.text  # it would send the data away
    assert len(found.tables["board-table"]) == len(board) + 1
    assert len(found.tables["means-table"]) == len(summary) + 1
    assert sorted(found.commands) == sorted(board["command"])
    means = [
        f"{100 * mean:.1f} ({100 * low:.1f} to {100 * high:.1f})"
        for mean, low, high in summary[["asr_mean", "asr_low", "asr_high"]].to_numpy()
    ]
    assert found.column("means-table", "ASR %") == means


@needs_chromium
def test_a_cells_picture_stands_beside_that_of_its_victim(
    written: Path, tmp_path: Path, board
) -> None:
    uri = gallery.embed(written.parents[1] / "triggers.svg")
    before, after = uri, gallery.embed(_other(tmp_path))
    shown = {
        RUN: Exhibit(RUN, {"tsne": before}),
        f"{RUN}/ft": Exhibit(f"{RUN} under ft", {"tsne": after, "certified": after}, run=RUN),
    }
    path = tmp_path / "index.html"
    write(path, board, shown)
    assert Page(path.read_text()).addresses.count(before) == 1
    script = """
      const opened = document.getElementById("%s/ft");
      opened.addEventListener("toggle", () => {
        const said = [...opened.querySelectorAll("figcaption")].map((each) => each.textContent);
        document.documentElement.dataset.said = said.join();
      });
      opened.open = true;
    """
    found = _open(path, tmp_path, script=script % RUN)
    assert found.root["data-said"] == "tsne before the defense,tsne,certified"
    assert found.addresses.count(before) == 2


def _other(folder: Path) -> Path:
    path = folder / "after.svg"
    path.write_text('<svg xmlns="http://www.w3.org/2000/svg"><text>after</text></svg>')
    return path


@needs_chromium
def test_the_address_filters_sorts_and_chooses_columns(
    written: Path, tmp_path: Path, board
) -> None:
    state = "#?attack=badnets&poison_ratio=0.1&q=NC&board-sort=-asr&columns=verdict"
    found = _open(written, tmp_path, state)
    kept = board.query("attack == 'badnets' and poison_ratio == 0.1 and defense == 'nc'")
    expected = [f"{100 * asr:.1f}" for asr in sorted(kept["asr"], reverse=True)]
    assert found.column("board-table", "ASR %") == expected
    assert found.column("board-table", "Backdoored") == ["yes"] * 3
    assert "Seconds" not in found.tables["board-table"][0]


@needs_chromium
def test_clicks_sort_filter_and_keep_missing_values_last(
    written: Path, tmp_path: Path, board
) -> None:
    script = """
      const click = (name) => document.querySelector(`#board-table [data-sort=${name}]`).click();
      click("rir"); click("rir"); click("asr"); click("rir");
      const pick = document.getElementById("pick-attack");
      pick.value = "sig"; pick.dispatchEvent(new Event("change"));
      document.documentElement.dataset.hash = location.hash;
    """
    found = _open(written, tmp_path, script=script)
    assert found.root["data-hash"] == "#?board-sort=rir&attack=sig"
    kept = board[board["attack"] == "sig"]
    shown = found.column("board-table", "RIR %")
    assert shown == ["40.0"] * int(kept["rir"].notna().sum()) + ["–"] * int(
        kept["rir"].isna().sum()
    )
    assert set(found.column("means-table", "Attack")) == {"sig"}


@needs_chromium
def test_an_attack_without_a_ratio_stands_in_the_charts_of_every_ratio(
    tmp_path: Path, board
) -> None:
    """Its ratio is 0, as the control's, and reads as a dash."""
    ratios = board["poison_ratio"].where(board["attack"] != "sig", 0.0)
    boundless = board.assign(poison_ratio=ratios)
    path = tmp_path / "index.html"
    write(path, boundless)
    found = _open(path, tmp_path, "#?attack=sig")
    assert set(found.column("board-table", "Ratio")) == {"–"}
    defenses = board["defense"].nunique()
    # The control, sig, and the attacks of the first ratio, in two maps.
    attacks = 2 + board.query("poison_ratio == 0.1 and attack != 'sig'")["attack"].nunique()
    assert found.text.count('<g class="heatmap-label') == 2 * attacks * defenses


@needs_chromium
def test_several_data_sets_get_a_selector_and_a_column(tmp_path: Path, board) -> None:
    both = pd.concat([board, board.assign(dataset="cifar10")])
    path = tmp_path / "index.html"
    write(path, both)
    found = _open(path, tmp_path, "#?dataset=cifar10&chart-dataset=cifar10")
    assert set(found.column("board-table", "Data set")) == {"cifar10"}
    assert "Data set" in found.tables["means-table"][0]
    assert "on digits and cifar10 with convnet" in path.read_text()


@needs_chromium
def test_published_figures_stand_beside_the_cells_that_have_them(tmp_path: Path, board) -> None:
    first = board[board["seed"] == 0].assign(dataset="cifar10", model="preactresnet18")
    seen = first.assign(**compare.judge(first))
    path = tmp_path / "index.html"
    write(path, seen)
    found = _open(path, tmp_path)
    assert set(seen["comparison"]) == {"", "within", "outside", "unreliable"}
    for table in ("board-table", "means-table"):
        shown = [value.replace("–", "nan") for value in found.column(table, "Published C-Acc %")]
        expected = pytest.approx(100 * seen["published_c_acc"].to_numpy(), abs=0.051, nan_ok=True)
        assert [float(value) for value in shown] == expected
        assert found.column(table, "Compared") == [status or "–" for status in seen["comparison"]]
    assert found.reasons == [reason for reason in seen["reason"] if reason] * 2


@needs_chromium
def test_without_published_figures_there_is_no_column_for_them(
    written: Path, tmp_path: Path
) -> None:
    found = _open(written, tmp_path)
    assert "Compared" not in found.tables["board-table"][0]
    assert "Published figures" not in found.text.split("<script", 1)[0]


OPENED = """
  const opened = [...document.querySelectorAll(".run[open]:not([hidden])")].map((run) => run.id);
  document.documentElement.dataset.opened = opened.join(" ");
"""


@needs_chromium
def test_a_row_leads_to_its_pictures_and_to_what_its_defense_found(
    written: Path, tmp_path: Path, board
) -> None:
    script = f"""
      document.querySelectorAll(".run").forEach((run) => {{ run.open = false; }});
      byId("runs").value = "no such run"; byId("runs").dispatchEvent(new Event("input"));
      document.querySelector('#board-table a[href$="/nc"]').click();
      {OPENED}
    """
    found = _open(written, tmp_path, script=script)
    assert found.root["data-opened"] == f"{RUN}/nc"
    links = dict(zip(board["command"], found.column("board-table", "Pictures"), strict=True))
    shown = board[(board["attack"] == "badnets") & (board["poison_ratio"] == 0.1)]
    shown = shown[shown["seed"] == 0].set_index("defense")["command"]
    assert (links[shown["none"]], links[shown["nc"]]) == ("2 pictures", "1 picture")
    assert sum(text != "–" for text in links.values()) == 2


@needs_chromium
def test_the_address_of_a_cell_opens_what_was_found_in_it(written: Path, tmp_path: Path) -> None:
    found = _open(written, tmp_path, f"#{RUN}/nc", script=OPENED)
    assert found.root["data-opened"] == f"{RUN} {RUN}/nc"


@needs_chromium
def test_sections_fold_and_are_unfolded_on_paper(written: Path, tmp_path: Path) -> None:
    script = """
      const folds = [...document.querySelectorAll("section > details.fold")];
      folds.forEach((each) => { each.open = false; });
      const heights = folds.map((each) => each.getBoundingClientRect().height);
      document.documentElement.dataset.highest = Math.max(...heights);
      dispatchEvent(new Event("beforeprint"));
      document.documentElement.dataset.unfolded = folds.every((each) => each.open);
    """
    found = _open(written, tmp_path, script=script)
    assert written.read_text().count("<section ") == written.read_text().count('class="fold" open')
    assert 0 < float(found.root["data-highest"] or 0) < 60
    assert found.root["data-unfolded"] == "true"


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory, board) -> Path:
    """A page of as many cells as BackdoorBench speaks of, of one seed."""
    one = board[board["seed"] == 0]
    settings = ((f"set{data}", f"net{net}") for data in range(40) for net in range(10))
    copies = islice(settings, -(-11_492 // len(one)))
    whole = pd.concat(
        [one.assign(dataset=data, model=net) for data, net in copies], ignore_index=True
    )
    summary = boards.summarise(whole)
    assert len(summary) >= 11_492
    path = tmp_path_factory.mktemp("wide") / "index.html"
    found = replace(findings.of(board), board=whole, summary=summary)
    page.write(path, found, dict.fromkeys(("ranks", "stability", "roc"), PIXEL), {})
    return path


def test_a_page_of_the_published_size_is_small(wide: Path) -> None:
    assert wide.stat().st_size < 15e6


@needs_chromium
@pytest.mark.evidence
def test_a_page_of_the_published_size_opens_at_once(wide: Path, tmp_path: Path) -> None:
    """Two seconds on two cores; what went over all rows for every row took six."""
    script = """
      addEventListener("load", () => {
        document.documentElement.dataset.opened = Math.round(performance.now());
      });
    """
    found = _open(wide, tmp_path, script=script)
    assert found.root["data-charts"] == "drawn"
    assert int(found.root["data-opened"] or 0) < 4500


@needs_chromium
def test_without_pictures_no_row_links_to_any(tmp_path: Path, board) -> None:
    path = tmp_path / "index.html"
    write(path, board)
    assert "Pictures" not in _open(path, tmp_path).tables["board-table"][0]


@needs_chromium
def test_two_defenses_stand_side_by_side(written: Path, tmp_path: Path, board) -> None:
    pairs = significance.judge(board).pairs.set_index(["metric", "defense", "other"])
    row = pairs.loc[("asr", "anp", "nc")]
    found = _open(written, tmp_path, "#?duel-one=nc&duel-other=anp")
    head, first, *_ = found.tables["duel-statistics"]
    shown = dict(zip(head, first, strict=True))
    assert shown["nc less anp"] == "ASR"
    assert shown["points"] == f"{-100 * row['difference']:.1f}"
    assert shown["95 % interval"] == f"{-100 * row['high']:.1f} to {-100 * row['low']:.1f}"
    assert shown["better %"] == f"{100 * row['worse']:.1f}"
    assert found.column("duel-attacks", "attack") == [
        "no attack", "badnets", "blended", "sig", "wanet", "badnets",
    ]  # fmt: skip
    assert "5 victims of 4 attacks: nc has the lower ASR beside anp" in found.text


@needs_chromium
def test_a_page_of_the_control_alone_says_that_nothing_can_be_compared(
    tmp_path: Path, board
) -> None:
    control = board[board["attack"] == "none"]
    path = tmp_path / "index.html"
    write(path, control)
    assert "no two defenses that were tried" in _open(path, tmp_path).text


@needs_chromium
def test_cost_and_ratio_have_a_chart_where_there_is_something_to_see(
    written: Path, tmp_path: Path, board
) -> None:
    script = """
      const of = (id) => document.getElementById(id).data;
      const root = document.documentElement.dataset;
      root.seconds = JSON.stringify(of("seconds").map(({ name, x, y }) => [name, x[0], y[0]]));
      root.ratio = JSON.stringify(of("ratio").map(({ name, x, y }) => [name, x, y]));
    """
    found = _open(written, tmp_path, script=script)
    attacked = board[(board["attack"] != "none") & (board["poison_ratio"] == 0.1)]
    means = attacked.groupby("defense")[["seconds", "asr"]].mean()
    for name, seconds, asr in json.loads(found.root["data-seconds"] or ""):
        assert seconds == pytest.approx(means.loc[name, "seconds"], rel=1e-4)
        assert asr == pytest.approx(100 * means.loc[name, "asr"], rel=1e-4)
    badnets = board[board["attack"] == "badnets"].groupby(["defense", "poison_ratio"])["asr"].mean()
    for name, ratios, rates in json.loads(found.root["data-ratio"] or ""):
        defense = "none" if name == "no defense" else name
        assert ratios == [0.01, 0.1]
        assert rates == pytest.approx([100 * badnets[defense, ratio] for ratio in ratios], rel=1e-4)
    one = board[board["poison_ratio"] != 0.01]
    path = tmp_path / "index.html"
    write(path, one)
    assert 'id="ratio-figure" hidden' in _open(path, tmp_path).text
