"""What both engines need around the jobs."""

import shutil
from pathlib import Path

import pytest
import yaml

from bdb import layout, presets
from bdb.jobs import engines

ROOT = Path(__file__).parents[2]


def test_sections_that_dvc_follows_and_that_are_not_there_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copy(ROOT / "dvc.yaml", tmp_path)
    monkeypatch.chdir(tmp_path)
    whole = yaml.safe_load(presets.text("smoke"))
    layout.PARAMS.write_text(yaml.safe_dump(whole))
    assert engines._lacking_sections() == ""
    layout.PARAMS.write_text(yaml.safe_dump({"grid": whole["grid"], "training": {}}))
    assert engines._lacking_sections().startswith("analyses, attacks, clean_set, datasets, ")
