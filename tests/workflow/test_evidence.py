"""What a defense found is an output like any other, under both engines."""

import re
from collections.abc import Callable
from typing import Any

import pytest

from bdb import artifacts

pytestmark = pytest.mark.evidence

RUN = "digits/convnet/badnets/0.1/s0"
QUICK = {"rounds": 2, "batch_size": 64, "unlearning_epochs": 1}


@pytest.fixture(scope="module")
def done(new_project: Callable[..., Any]) -> Any:
    """A cell of a defense that declares evidence, and one of a defense that does not."""
    project = new_project()
    project.params["training"]["epochs"] = 2
    project.params["grid"] |= {"defense": ["strip", "nc"], "analysis": []}
    project.params["defenses"] = {"nc": QUICK}
    project.params["keep_defended_models"] = False
    project.save()
    project.init_dvc()
    project.make()
    project.commit("Make the grid")
    return project


def cell(project: Any, defense: str) -> Any:
    return project.folder / "results" / "cells" / RUN / defense


def test_it_lies_beside_the_cell_whether_the_model_is_kept_or_not(done: Any) -> None:
    common = ["predictions.parquet", "provenance.json", "scores.parquet"]
    assert sorted(path.name for path in cell(done, "strip").iterdir()) == common
    assert sorted(path.name for path in cell(done, "nc").iterdir()) == [
        "evidence.safetensors",
        *common,
    ]


def test_it_says_what_was_found(done: Any) -> None:
    found, facts = artifacts.read_arrays(cell(done, "nc") / "evidence.safetensors")
    assert facts["order"] == ["trigger", "mask", "norm", "anomaly_index"]
    assert facts["origin"]["run"] == RUN
    assert found["trigger"].shape == (10, 3, 32, 32)
    assert (found["trigger"] <= found["mask"]).all()
    assert found["norm"] == pytest.approx(found["mask"].sum((1, 2, 3)), rel=1e-4)
    verdict = artifacts.read_json(cell(done, "nc") / "provenance.json")["verdict"]
    assert verdict["score"] == pytest.approx(found["anomaly_index"].max())


def test_the_page_shows_it_with_the_true_target(done: Any) -> None:
    page = (done.folder / "results/report/index.html").read_text()
    shown = page[page.index(f'id="{RUN}/nc"') :].partition("</details>")[0]
    head = re.search(r"<thead>(.*?)</thead>", shown, re.DOTALL)
    assert head is not None
    classes = re.findall(r"<th class=\"plain([^>]*)\" scope=\"col\">([^<]*)", head[1])
    targets = [name.strip() for mark, name in classes if "target" in mark]
    assert len(classes) == 10
    assert targets == ["0"]
    assert shown.count("data:image/png;base64,") == 20  # a trigger and a mask for each class
    assert f'id="{RUN}/strip"' not in page


def test_both_engines_restore_it(done: Any) -> None:
    path = cell(done, "nc") / "evidence.safetensors"
    before = path.read_bytes()
    assert done.planned() == {}
    assert done.is_clean()
    path.unlink()
    assert done.planned()["defend_with_evidence"] == 1
    done.forget_logs()
    done.make()
    assert not [log for log in done.computed() if log.startswith("defend")]
    assert path.read_bytes() == before
    path.unlink()
    assert done.bdb("sync").returncode == 0
    assert path.read_bytes() == before
    assert done.planned() == {"record": 1}
    path.unlink()
    done.dvc("checkout", "results/cells")
    assert path.read_bytes() == before
    assert done.is_clean()
