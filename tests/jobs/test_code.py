from pathlib import Path

import pytest

from bdb.errors import BdbError
from bdb.jobs import catalogue, code

FILES = {
    "toy/__init__.py": "",
    "toy/base.py": '"""Doc."""\nX = 1\n',
    "toy/one.py": "from toy import base\n\n\ndef f():\n    return base.X\n",
    "toy/two.py": "from .base import X\n",
    "toy/sub/__init__.py": "",
    "toy/sub/three.py": "from ..one import f\nimport os\n",
}


@pytest.fixture
def toy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    return tmp_path / "toy"


def identity(module: str) -> str:
    return code.identity(code.scan(code.files(["toy"])), [module])


@pytest.mark.usefixtures("toy")
def test_imports_are_followed() -> None:
    sources = code.scan(code.files(["toy"]))
    assert sources["toy.sub.three"].imports == ("toy.one",)
    assert sources["toy.two"].imports == ("toy.base",)


def test_a_comment_or_a_docstring_changes_nothing(toy: Path) -> None:
    before = identity("toy.sub.three")
    (toy / "base.py").write_text('"""Another doc."""\n\n# why\nX   =   1\n')
    (toy / "one.py").write_text(FILES["toy/one.py"].replace("():\n", '():\n    "doc"\n'))
    assert identity("toy.sub.three") == before


def test_code_changes_all_that_import_it_and_nothing_else(toy: Path) -> None:
    before = {name: identity(name) for name in ("toy.base", "toy.one", "toy.two", "toy.sub.three")}
    (toy / "one.py").write_text(FILES["toy/one.py"].replace("base.X", "base.X + 1"))
    after = {name: identity(name) for name in before}
    changed = {name for name in before if before[name] != after[name]}
    assert changed == {"toy.one", "toy.sub.three"}


@pytest.mark.parametrize("name", [".#one.py", "._one.py", "one-old.py", "2.py", ".old/one.py"])
def test_what_cannot_be_imported_by_name_is_no_module(toy: Path, name: str) -> None:
    before = code.files(["toy"])
    (toy / name).parent.mkdir(exist_ok=True)
    (toy / name).symlink_to("nowhere")
    assert code.files(["toy"]) == before


def test_a_module_that_leads_nowhere_is_named(toy: Path) -> None:
    (toy / "four.py").symlink_to("nowhere")
    with pytest.raises(BdbError, match=r"toy/four\.py: not a file"):
        code.files(["toy"])


def test_a_method_does_not_depend_on_its_siblings() -> None:
    known = catalogue.load()
    badnets = known.get("attack", "badnets")
    sources = dict(known.sources)
    before = code.identity(sources, ["bdb.stages.poison", badnets.module])
    sources["bdb.attacks.data_poisoning.blended"] = code.Source("changed", ())
    assert code.identity(sources, ["bdb.stages.poison", badnets.module]) == before
    sources["bdb.attacks.poisoning"] = code.Source("changed", ())
    assert code.identity(sources, ["bdb.stages.poison", badnets.module]) != before
