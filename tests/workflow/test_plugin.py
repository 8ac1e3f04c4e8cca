"""An attack in another package: one file and an entry point, and it runs through the DAG."""

from pathlib import Path
from typing import Any

import pandas as pd

ATTACK = '''
from typing import ClassVar

from pydantic import Field
from torch import Tensor

from bdb.attacks.base import Attack, Role, State
from bdb.method import Paper
from bdb.registry import register


@register("stripe")
class Stripe(Attack):
    """White rows at the top."""

    paper: ClassVar[Paper] = Paper(title="Stripes", authors="Us", venue="Here", year=2026)

    rows: int = Field(2, ge=1, le=32, description="how many rows")

    def stamp(
        self, images: Tensor, state: State, *, role: Role, ids: Tensor, targets: Tensor
    ) -> Tensor:
        stamped = images.clone()
        stamped[:, :, : self.rows] = 255
        return stamped
'''

METADATA = "Metadata-Version: 2.1\nName: stripes\nVersion: 0.1\n"
ENTRY_POINTS = "[bdb.attacks]\nstripe = stripes.stripe\n"


def install(folder: Path) -> None:
    """What `pip install` leaves behind."""
    for name, text in {
        "stripes/__init__.py": "",
        "stripes/stripe.py": ATTACK,
        "stripes-0.1.dist-info/METADATA": METADATA,
        "stripes-0.1.dist-info/entry_points.txt": ENTRY_POINTS,
    }.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_an_attack_of_another_package_runs_through_the_dag(project: Any, tmp_path: Path) -> None:
    install(tmp_path / "site")
    project.search(tmp_path / "site")
    project.params["grid"] |= {"attack": ["stripe"], "defense": [], "analysis": []}
    project.params["attacks"] = {"stripe": {"rows": 3}}
    project.params["training"]["epochs"] = 8
    project.save()
    assert "White rows at the top." in project.bdb("list", "attack", "stripe").stdout
    checker = "from bdb.testing import check_attack; from stripes.stripe import Stripe; "
    checked = project.python(checker + "check_attack(Stripe)")
    assert checked.returncode == 0, checked.stderr
    ran = project.snakemake()
    assert ran.returncode == 0, ran.stdout + ran.stderr
    (victim,) = pd.read_csv(project.folder / "results" / "board.csv").to_dict("records")
    assert victim["attack"] == "stripe"
    assert victim["asr"] > 0.9
