"""An attack that shares a trigger, needs a surrogate and draws on other data, through the DAG."""

from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from test_plugin import METADATA

from bdb import artifacts

ATTACK = '''
from typing import ClassVar

import torch
from pydantic import Field

from bdb.attacks.base import DataPoisoning
from bdb.attacks.surrogates import Surrogate
from bdb.registry import register


@register("guided")
class Guided(DataPoisoning):
    """A bright corner, where a robust model and another data set say so."""

    surrogates: ClassVar = {"robust": Surrogate(eps=8, steps=2)}
    foreign_field: ClassVar = "source"
    shares_trigger: ClassVar = True

    source: str = Field("folder", description="data set to draw on")

    def prepare_trigger(self, context):
        assert context.plan is None
        assert context.foreign.images.shape[1:] == context.data.shape
        model = context.surrogate("robust")
        with torch.no_grad():
            assert model(context.foreign.images.float() / 255).shape[1] == 10
        return {"level": torch.tensor([255], dtype=torch.uint8)}

    def stamp(self, images, state, *, role, ids, targets):
        stamped = images.clone()
        stamped[:, :, :4, :4] = state["level"]
        return stamped
'''


def install(site: Path) -> None:
    for name, text in {
        "guides/__init__.py": "",
        "guides/guided.py": ATTACK,
        "guides-0.1.dist-info/METADATA": METADATA.replace("stripes", "guides"),
        "guides-0.1.dist-info/entry_points.txt": "[bdb.attacks]\nguided = guides.guided\n",
    }.items():
        path = site / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def draw(folder: Path) -> None:
    """A data set of one's own: two classes, of another size than digits."""
    import numpy as np
    from PIL import Image

    rng = np.random.default_rng(0)
    for part, label in ((part, label) for part in ("train", "test") for label in "ab"):
        place = folder / part / label
        place.mkdir(parents=True)
        for index in range(3):
            Image.fromarray(rng.integers(0, 256, (20, 20, 3), np.uint8)).save(
                place / f"{index}.png"
            )


@pytest.mark.evidence
def test_two_ratios_share_a_trigger_made_with_a_surrogate_and_other_data(
    project: Any, tmp_path: Path
) -> None:
    install(tmp_path / "site")
    project.search(tmp_path / "site")
    draw(tmp_path / "mine")
    project.params["datasets"] = {"folder": {"path": str(tmp_path / "mine"), "size": 24}}
    project.params["grid"] |= {"attack": ["guided"], "poison_ratio": [0.1, 0.05]}
    project.params["grid"] |= {"defense": [], "analysis": []}
    project.params["training"]["epochs"] = 4
    project.save()
    expected = {"prepare": 2, "surrogate": 1, "trigger": 1, "poison": 2, "train": 2}
    assert Counter(expected) <= Counter(project.planned())
    project.make()
    board = pd.read_csv(project.folder / "results" / "board.csv")
    assert sorted(board["poison_ratio"]) == [0.05, 0.1]
    surrogate = project.folder / "results/surrogates/digits/convnet/linf8-steps2/s0"
    assert artifacts.read_json(surrogate / "provenance.json")["c_acc"] > 0.5
    assert project.planned() == {}
