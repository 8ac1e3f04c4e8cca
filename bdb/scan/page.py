"""An answer as one HTML file that needs no network."""

from __future__ import annotations

from bdb import __version__
from bdb.errors import printable
from bdb.report import page, sheet
from bdb.scan import plain
from bdb.scan.answer import BLIND_SPOTS, Answer
from bdb.scan.finding import Finding


def html(answer: Answer) -> str:
    """The page; style and pictures stand in it."""
    agreement = "" if answer.accuracy is None else plain.agreement(answer.accuracy)
    pictures = [
        (sheet.picture(each.picture.numpy()), printable(plain.trigger(each, answer)))
        for each in answer.triggers
    ]
    return page.template("scan.html.j2").render(
        headline=printable(plain.headline(answer)),
        verdict=plain.verdict(answer),
        calibration=printable(answer.calibration),
        detectors=[_row(each, answer) for each in answer.findings],
        agreement=agreement,
        triggers=pictures,
        samples=[printable(text) for text in plain.samples(answer)],
        blind_spots=BLIND_SPOTS,
        facts={"model": printable(str(answer.path)), "bdb": __version__},
    )


def _row(finding: Finding, answer: Answer) -> list[str]:
    if finding.verdict is None:
        skipped = printable(f"not looked at, since {finding.reason}")
        return [finding.detector, skipped, "", "", "", f"{finding.seconds:.1f}"]
    rank = answer.ranks.get(finding.detector)
    ranked = [f"{rank.higher} of {rank.among}", f"{rank.p:.2g}"] if rank else ["uncalibrated", ""]
    said, score = plain.said(finding, answer), f"{finding.verdict['score']:.2f}"
    return [finding.detector, printable(said), score, *ranked, f"{finding.seconds:.1f}"]
