import json
import os
import re
import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pandas as pd
import pytest

from bdb.errors import ArtifactError
from bdb.report import board as boards
from bdb.report import compare, page

RUN = "digits/convnet/badnets/0.1/s0"
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


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory, board, summary) -> Path:
    """A page with one real picture and one that says a word."""
    folder = tmp_path_factory.mktemp("page")
    picture = folder / "triggers.svg"
    picture.write_text('<svg xmlns="http://www.w3.org/2000/svg"><text>stamp</text></svg>')
    pictures = {f"{RUN}/triggers": picture, f"{RUN}/tsne": picture}
    path = folder / "report" / "index.html"
    page.write(path, board, summary, pictures, {"recipe": "fast <b>&", "runs": "18"})
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
    assert sum(address.startswith("data:image/svg+xml;base64,") for address in found.addresses) == 2
    assert all(address.startswith(("data:", "#")) for address in found.addresses)
    assert [path.name for path in written.parent.iterdir()] == ["index.html"]


def test_the_data_are_whole_and_cannot_leave_their_element(written: Path, board, summary) -> None:
    text = re.search(
        r'<script type="application/json" id="data">(.*?)</script>', written.read_text()
    )
    assert text is not None
    assert "<" not in text[1]
    data = json.loads(text[1])
    assert data["board"]["columns"] == list(board.columns)
    assert len(data["board"]["data"]) == len(board)
    assert len(data["summary"]["data"]) == len(summary)
    assert data["board"]["data"][3][board.columns.get_loc("command")] == board["command"][3]


def test_facts_are_escaped(written: Path) -> None:
    assert "fast &lt;b&gt;&amp;" in written.read_text()


def test_a_missing_picture_is_named(tmp_path: Path, board, summary) -> None:
    pictures = {f"{RUN}/tsne": tmp_path / "gone.svg"}
    with pytest.raises(ArtifactError, match=r"gone\.svg"):
        page.write(tmp_path / "index.html", board, summary, pictures, {})
    assert not (tmp_path / "index.html").exists()


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
    assert found.text.count('<g class="trace scatter') == defenses
    assert found.text.count('<g class="heatmap-label') == 2 * 5 * defenses
    assert 'class="modebar-btn"' in found.text
    assert 'data-title="Share' not in found.text  # it would send the data away
    assert len(found.tables["board-table"]) == len(board) + 1
    assert len(found.tables["means-table"]) == len(summary) + 1
    assert sorted(found.commands) == sorted(board["command"])
    means = [
        f"{100 * mean:.1f} ± {100 * half:.1f}"
        for mean, half in zip(summary["asr_mean"], summary["asr_ci95"], strict=True)
    ]
    assert found.column("means-table", "ASR %") == means


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
def test_several_data_sets_get_a_selector_and_a_column(tmp_path: Path, board, summary) -> None:
    both = [pd.concat([frame, frame.assign(dataset="cifar10")]) for frame in (board, summary)]
    path = tmp_path / "index.html"
    page.write(path, both[0], both[1], {}, {})
    found = _open(path, tmp_path, "#?dataset=cifar10&chart-dataset=cifar10")
    assert set(found.column("board-table", "Data set")) == {"cifar10"}
    assert "Data set" in found.tables["means-table"][0]
    assert "on digits and cifar10 with convnet" in path.read_text()


@needs_chromium
def test_published_figures_stand_beside_the_cells_that_have_them(tmp_path: Path, board) -> None:
    first = board[board["seed"] == 0].assign(dataset="cifar10", model="preactresnet18")
    seen = first.assign(**compare.judge(first))
    path = tmp_path / "index.html"
    page.write(path, seen, boards.summarise(seen), {}, {})
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
