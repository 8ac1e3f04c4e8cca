"""Files and arguments that mean harm or came to harm: one line, exit code 2, nothing touched."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bdb import cli, presets

RUN = "digits/convnet/badnets/0.1/s0"
SMOKE = presets.text("smoke")

Refusal = Callable[..., str]


@pytest.fixture
def refusal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: Any) -> Refusal:
    """Runs the command line in a project of its own, and gives the one line that it says."""
    project = tmp_path / "above" / "project"
    project.mkdir(parents=True)
    (project / "params.yaml").write_text(SMOKE)
    monkeypatch.chdir(project)

    def run(*arguments: str) -> str:
        before = snapshot(tmp_path)
        monkeypatch.setattr(sys, "argv", ["bdb", *arguments])
        with pytest.raises(SystemExit) as left:
            cli.main()
        out, err = capfd.readouterr()
        assert left.value.code == 2
        assert not out
        assert err.startswith("bdb: ")
        assert len(err.splitlines()) == 1
        assert err.rstrip("\n").isprintable()
        assert len(err) < 1000
        assert snapshot(tmp_path) == before
        return err

    return run


def snapshot(folder: Path) -> dict[str, bytes | None]:
    return {
        str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None
        for path in sorted(folder.rglob("*"))
    }


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["train", "../../x"], "run '../../x' is not dataset/model/attack/ratio/s<seed>"),
        (["train", "../../../etc/0.1/s0"], "is not dataset/model/attack/ratio/s<seed>"),
        (["train", "digits/convnet/../0.1/s0"], "is not dataset/model/attack/ratio/s<seed>"),
        (["train", f"{RUN}\n"], "is not dataset/model/attack/ratio/s<seed>"),
        (["train", f"{RUN}{'9' * 5000}"], "is not dataset/model/attack/ratio/s<seed>"),
        (["train", "digits/convnet/badnets/0.1/s٣"], "is not dataset/model/attack/ratio/s<seed>"),
        (["train", "digits/convnet/badnets/0.1/s99"], f"did you mean '{RUN}'?"),
        (["poison", "/etc/passwd"], "is not dataset/model/attack/ratio/s<seed>"),
        (["evaluate", "~/x"], "is not dataset/model/attack/ratio/s<seed>"),
        (["prepare", "../x"], "dataset '../x' is not known"),
        (["prepare", "/etc"], "dataset '/etc' is not known"),
        (["defend", RUN, "../x"], "defense '../x' is not known"),
        (["defend", RUN, "x" * 5000], "defense 'xxx"),
        (["analyze", RUN, "../../x"], "analysis '../../x' is not known"),
        (["preset", "../x"], "preset '../x' is not known"),
        (["preset", "../demo"], "preset '../demo' is not known"),
        (["list", "../x"], "kind '../x' is not known"),
        (["list", "attack", "../x"], "attack '../x' is not known"),
        (["list", "\x1b[31m"], r"kind '\x1b[31m' is not known"),
        (["list", "\u202ereversed"], r"kind '\u202ereversed' is not known"),
        (["show", "../../x"], "kind '../..' is not known"),
        (["show", "\ud800"], r"method '\ud800' is not known"),
        (["check", "--params", "a\x1b[31mb\nc"], r"a\x1b[31mb c: no such file"),
        (["check", "--params", "."], ".: not a file"),
        (["check", "--params", "x" * 300], "cannot be read (File name too long)"),
        (["report", "--code", "../x"], "--code ../x: the code is"),
    ],
)
def test_arguments(refusal: Refusal, arguments: list[str], message: str) -> None:
    assert message in refusal(*arguments)


def folder(path: Path) -> None:
    path.mkdir()
    (path / "precious").write_text("mine")


def bomb(path: Path) -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    path.write_text("\n".join(lines))


SPOILERS: dict[str, Callable[[Path], object]] = {
    "not a file; ": folder,
    "not a file": os.mkfifo,
    "params.yaml: not a file": lambda path: path.symlink_to("params.yaml"),
    "no such file": lambda path: path.with_name("params.yml").touch(),
    "an alias; write the value out": bomb,
    "not UTF-8 text": lambda path: path.write_bytes(bytes(range(256))),
    "larger than": lambda path: path.write_bytes(b"#" * 10_000_000),
    "holds no keys": lambda path: path.touch(),
    "'tag:yaml.org,2002:python/object/apply:os.system'": lambda path: path.write_text(
        "grid: !!python/object/apply:os.system ['touch ../owned']\n"
    ),
}


@pytest.mark.parametrize("message", SPOILERS)
def test_what_stands_in_the_place_of_params_yaml(refusal: Refusal, message: str) -> None:
    Path("params.yaml").unlink()
    SPOILERS[message](Path("params.yaml"))
    for command in (["check"], ["report"], ["train", RUN], ["prepare", "digits"]):
        assert message in refusal(*command)


def test_a_preset_does_not_take_the_place_of_a_folder(refusal: Refusal) -> None:
    Path("params.yaml").unlink()
    folder(Path("params.yaml"))
    assert "params.yaml" in refusal("preset", "demo")


@pytest.mark.parametrize("message", ["not a file; ", "not a file", "an alias", "not UTF-8 text"])
def test_both_real_programs_say_the_same(project: Any, message: str) -> None:
    path = project.folder / "params.yaml"
    path.unlink()
    next(spoil for text, spoil in SPOILERS.items() if text.startswith(message))(path)
    for done in (project.bdb("check"), project.snakemake("-n")):
        assert done.returncode == 2, done.stderr
        assert "Traceback" not in done.stderr
        said = [line for line in done.stderr.splitlines() if line.startswith("bdb: ")]
        assert len(said) == 1
        assert message in said[0]


def test_a_byte_order_mark_does_not_disturb_snakemake(project: Any) -> None:
    (project.folder / "params.yaml").write_text("\ufeff" + SMOKE, encoding="utf-8")
    assert project.planned()
