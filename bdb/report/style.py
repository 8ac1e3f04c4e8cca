"""How every picture looks, and how it is written: the same data give the same bytes.

Figures are made through matplotlib's object-oriented API, inside `context()`; nothing global is
left changed, and a user's matplotlibrc has no say.
"""

from __future__ import annotations

import io
import math
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bdb import artifacts

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart under every common colour blindness.
BLUE, VERMILION, GREEN, ORANGE = "#0072B2", "#D55E00", "#009E73", "#E69F00"
PALETTE = (BLUE, ORANGE, GREEN, VERMILION, "#CC79A7", "#56B4E9", "#8A6D00", "#4D4D4D")
# Paul Tol's muted scheme: nine colours for nine or more classes.
CLASSES = (
    "#CC6677", "#332288", "#DDCC77", "#117733", "#88CCEE",
    "#882255", "#44AA99", "#999933", "#AA4499", "#9A9A9A",
)  # fmt: skip
MARKERS = "osD^vP*X"
INK, MUTED, FAINT = "#1F2430", "#6B7280", "#E3E5EA"

TITLE, TEXT, SMALL = 11.0, 9.0, 7.5
_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")
_LETTERS_PER_INCH = 15.5  # of the small size

_RC: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Segoe UI", "Helvetica", "Arial"],
    "font.size": TEXT,
    "axes.titlesize": TEXT,
    "axes.labelsize": TEXT,
    "xtick.labelsize": SMALL,
    "ytick.labelsize": SMALL,
    "legend.fontsize": SMALL,
    "figure.titlesize": TITLE,
    "figure.facecolor": "white",
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": MUTED,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": FAINT,
    "grid.linewidth": 0.7,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "text.parse_math": False,  # A class may be called `a$b$`.
    "svg.fonttype": "none",
    "svg.hashsalt": "bdb",
    "savefig.dpi": 150,
}


@contextmanager
def context() -> Iterator[None]:
    """Apply matplotlib's defaults and our style, inside the block only."""
    import matplotlib.style

    with matplotlib.style.context(["default", _RC]), warnings.catch_warnings():
        # It only measures letters here; the browser's fonts, which have them all, draw them.
        warnings.filterwarnings("ignore", "Glyph .* missing from font")
        yield


def new_figure(width: float, height: float) -> Figure:
    """A figure of so many inches that lays itself out; belongs to no window and no list."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def headline(figure: Figure, title: str, note: str = "") -> None:
    """Title a figure, and say in small letters below it what there is to see."""
    figure.suptitle(title, fontsize=TITLE, fontweight="bold", x=0.01, ha="left")
    if note:
        letters = int(figure.get_figwidth() * _LETTERS_PER_INCH)
        text = "\n".join(textwrap.fill(line, letters) for line in note.splitlines())
        figure.supxlabel(text, fontsize=SMALL, color=MUTED, x=0.01, ha="left", gid="caption")


def caption(path: Path) -> str:
    """What a picture's small letters say, in one line; empty where it has none.

    Args:
        path: an SVG that was drawn here.
    """
    from xml.etree import ElementTree

    below = ElementTree.parse(path).find(".//*[@id='caption']")
    return "" if below is None else " ".join(" ".join(below.itertext()).split())


def power_of_ten(value: float, _: float = 0) -> str:
    """A tick of a logarithmic axis, as `10⁻²`: matplotlib's own is TeX, which nobody parses here.

    Use it as `axes.yaxis.set_major_formatter(style.power_of_ten)`.
    """
    return "10" + f"{round(math.log10(value))}".translate(_RAISED)


def bare(axes: Axes) -> None:
    """Take the ticks away, and leave a hairline around: for images."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines[:].set(visible=True, color=MUTED, linewidth=0.5)


def svg(figure: Figure) -> bytes:
    """A figure as SVG, undated and with settled ids: the same figure, the same bytes."""
    buffer = io.BytesIO()
    with context():
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    return buffer.getvalue()


def save_svg(figure: Figure, path: Path) -> None:
    """Write a figure as SVG."""
    with artifacts.replacing(path) as temporary:
        temporary.write_bytes(svg(figure))
