"""An answer for people who read a terminal."""

from __future__ import annotations

from bdb.errors import printable
from bdb.scan.answer import BLIND_SPOTS, Answer
from bdb.scan.finding import Finding
from bdb.scan.samples import Sifted, votes
from bdb.scan.triggers import Reversed

_MOST = 5  # images that are named
_LOW = 0.5  # accuracy below which the images hardly are the model's


def text(answer: Answer) -> str:
    """Lines of text."""
    lines = [headline(answer), *(f"  {line(each, answer)}" for each in answer.findings)]
    lines += [f"  {trigger(each, answer)}" for each in answer.triggers]
    lines += [f"  {agreement(answer.accuracy)}"] if answer.accuracy is not None else []
    lines += [f"  {each}" for each in samples(answer)]
    lines += [verdict(answer), answer.calibration, "no scan of weights alone sees:"]
    lines += [f"  - {spot}" for spot in BLIND_SPOTS]
    return "\n".join(printable(each) for each in lines)


def headline(answer: Answer) -> str:
    """What the model is."""
    spec = answer.model.spec
    shape = " x ".join(str(side) for side in spec.data.shape)
    return f"{answer.path}: {spec.architecture}, {spec.data.num_classes} classes, input {shape}"


def verdict(answer: Answer) -> str:
    """What is to be thought of it."""
    by = ", ".join(answer.suspects)
    return f"suspicious, says {by}" if answer.is_suspicious else "nothing found"


def line(finding: Finding, answer: Answer) -> str:
    """What one detector said."""
    if finding.verdict is None:
        return f"{finding.detector}: not looked at, since {finding.reason}"
    rank = answer.ranks.get(finding.detector)
    worth = "uncalibrated" if rank is None else ranked(rank.higher, rank.among, rank.p)
    facts = f"score {finding.verdict['score']:.2f}, {worth}, {finding.seconds:.1f} s"
    return f"{finding.detector}: {said(finding, answer)} ({facts})"


def ranked(higher: int, among: int, p: float) -> str:
    """A rank among clean models, in words."""
    return f"{higher} of {among} clean models score as high, p = {p:.2g}"


def said(finding: Finding, answer: Answer) -> str:
    """Whether a detector suspects the model, and of which classes."""
    if not (finding.has_threshold or finding.detector in answer.ranks):
        return "has no threshold"
    if not (answer.is_suspicious and finding.detector in answer.suspects):
        return "nothing"
    named = ", ".join(answer.model.spec.data.classes[k] for k in finding.classes[:5])
    return f"suspicious, class {named}" if named else "suspicious"


def trigger(found: Reversed, answer: Answer) -> str:
    """What a reversed trigger does."""
    name = answer.model.spec.data.classes[found.label]
    does = f"{found.detector}'s trigger of class {name} turns {found.asr:.0%} of the clean images"
    if found.on_clean is None:
        return does
    origin = {"natural": ": natural", "its own": ": the suspect's own, planted or not"}
    return f"{does}, and {found.on_clean:.0%} on the clean model{origin.get(found.origin, '')}"


def agreement(accuracy: float) -> str:
    """How far the clean images' labels are the model's answers."""
    doubt = "; are classes, size and normalisation right?" if accuracy < _LOW else ""
    return f"of the clean images the model knows {accuracy:.0%}{doubt}"


def samples(answer: Answer) -> list[str]:
    """What was said of single images."""
    return [*(sifted(each) for each in answer.sifted), *most_flagged(answer)]


def sifted(found: Sifted) -> str:
    """How many images a detector flags."""
    of = {"inputs": "inputs", "train": "training samples"}[found.split]
    if found.reason:
        return f"{found.detector}: {of} not looked at, since {found.reason}"
    count = int(found.flagged.sum())
    return f"{found.detector}: flags {count} of {len(found.names)} {of} ({found.seconds:.1f} s)"


def most_flagged(answer: Answer) -> list[str]:
    """Of inputs and of training samples, those that most detectors flag."""
    said = []
    for split in dict.fromkeys(each.split for each in answer.sifted):
        counts, judging = votes(answer.sifted, split)
        named = ", ".join(f"{name} ({count} of {judging})" for name, count in counts[:_MOST])
        said += [f"flagged by most: {named}"] if named else []
    return said
