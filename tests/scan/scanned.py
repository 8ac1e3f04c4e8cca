"""What tests of scans share: the command in a folder of its own, and folders of images."""

import os
import subprocess
import sys
from pathlib import Path

from PIL import Image

from bdb.datasets.base import ImageSet

ROOT = Path(__file__).parents[2]


def bdb(folder: Path, *arguments: str, **streams: int) -> subprocess.CompletedProcess[str]:
    """Run `bdb scan` in a folder that holds no project; its streams are read unless given."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "BDB_DEVICE": "cpu"}
    command = [sys.executable, "-m", "bdb", "scan", *arguments]
    heard = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | streams
    return subprocess.run(command, cwd=folder, env=environment, text=True, check=False, **heard)


def put(folder: Path, found: ImageSet, names: list[str]) -> Path:
    """Images as PNG files in a folder per class."""
    for at, (pixels, label) in enumerate(zip(found.images, found.labels.tolist(), strict=True)):
        path = folder / names[label] / f"{at:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path)
    return folder
