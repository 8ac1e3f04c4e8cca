"""A class may be called anything: pictures and their tables survive it."""

from dataclasses import replace
from pathlib import Path
from typing import cast
from xml.etree import ElementTree

import pytest

from bdb import registry
from bdb.analyses.base import Analysis
from bdb.report.style import save_svg
from bdb.testing import lab, quick

NAMES = ("$a_{", "$x^2$", "<b>&amp;", "a|b", "\u72ac", "\U0001f600", "%s", "\\frac", "'\"", "{0}")
NAMING = {
    "activation_classes",
    "confusion",
    "feature_visualization",
    "gradcam",
    "shap",
    "top_images",
    "triggers",
    "tsne",
    "umap",
}  # the tools that write classes by name


@pytest.mark.parametrize("tool", registry.names("analysis"))
def test_classes_of_any_name(tool: str, tmp_path: Path) -> None:
    cls = cast(type[Analysis], registry.get("analysis", tool))
    view = lab("badnets").analyst_view(cls.needs)
    view = replace(view, data=view.data.model_copy(update={"classes": NAMES}))
    picture = cls(**quick(cls)).run(view)
    save_svg(picture.figure, tmp_path / "it.svg")
    picture.table.to_parquet(tmp_path / "it.parquet")
    drawn = "".join(ElementTree.parse(tmp_path / "it.svg").getroot().itertext())
    assert any(name in drawn for name in NAMES) == (tool in NAMING)
