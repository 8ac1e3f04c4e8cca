"""What the command `bdb scan` can be told."""

from pathlib import Path
from typing import Annotated

import typer

Model = Annotated[Path, typer.Argument(help="a file, or a folder with a model in it")]
Arch = Annotated[str, typer.Option(help="of torchvision, `bdb list model`, or timm/NAME")]
Size = Annotated[int, typer.Option(min=0, max=1024, help="side of its input in pixels")]
Normalize = Annotated[
    str, typer.Option(help="how inputs are normalised: imagenet, none, or as a data set's")
]
Budget = Annotated[str, typer.Option(help="seconds for all detectors, as in 60s")]
Population = Annotated[
    Path | None, typer.Option(help="clean models to compare with, as CSV; bdb's own without")
]
Calibrate = Annotated[
    Path | None,
    typer.Option(help="own data; clean models are trained on them, into --population"),
]
CleanModels = Annotated[int, typer.Option(min=19, help="how many --calibrate trains")]
Images = Annotated[
    Path | None, typer.Option(help="clean images: a folder per class, Parquet, CSV or .npz")
]
CleanModel = Annotated[Path | None, typer.Option(help="a model of these data that nobody suspects")]
Inputs = Annotated[
    Path | None, typer.Option(help="folder of images, each of which is to be judged")
]
Train = Annotated[
    Path | None, typer.Option(help="a training set, each sample of which is to be judged")
]
Scores = Annotated[Path | None, typer.Option(help="CSV to put the score of every image in")]
Pictures = Annotated[
    Path | None, typer.Option(help="folder to put the triggers that were found in")
]
Html = Annotated[Path | None, typer.Option(help="also write the answer as a page")]
Sarif = Annotated[Path | None, typer.Option(help="also write it as SARIF 2.1.0")]
Seed = Annotated[int, typer.Option(help="of what detectors draw")]
AsJson = Annotated[bool, typer.Option("--json", help="print JSON")]
