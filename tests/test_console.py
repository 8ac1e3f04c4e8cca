import io
import sys

import pytest

from bdb import console


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_progress_bar(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert list(console.track(range(3), "train")) == [0, 1, 2]
    assert "100%" in sys.stderr.getvalue()  # type: ignore[attr-defined]


def test_a_log_gets_plain_lines(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(console, "_QUIET_SECONDS", 0.0)
    assert list(console.track(range(2), "train")) == [0, 1]
    assert capsys.readouterr().err == "train: 1/2\ntrain: 2/2\n"
