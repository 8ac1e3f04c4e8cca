"""Whom an attack stands for: what the attacker changes and has to know, and MITRE's name for it."""

from __future__ import annotations

from bdb.jobs.catalogue import Entry

_LABELS = {
    "dirty": "training images and their labels",
    "clean": "training images of the target class, whose labels stay right",
    "label-only": "labels of training images, and no pixel",
}
_MEANS = {
    "training_controlled": "how the victim is trained",
    "model_editing": "the weights or layers of a trained model",
}
_DATA, _MODEL = "AML.T0020, Poison Training Data", "AML.T0018, Manipulate AI Model"


def threat(entry: Entry) -> str:
    """The threat model of an attack in one sentence, from its class variables; empty for others."""
    if entry.kind != "attack" or not entry.can("poisons"):
        return ""
    is_data = entry.room == "data_poisoning"
    changes = _LABELS[_label_mode(entry)] if is_data else _MEANS[entry.room]
    technique = _DATA if is_data else _MODEL
    known = ", ".join(_known(entry)) or "nothing but those"
    return f"The attacker changes {changes}; has to know {known} (MITRE ATLAS {technique})."


def _label_mode(entry: Entry) -> str:
    field = entry.can("label_mode_field")
    return str(entry.default(field) if field else entry.can("label_mode"))


def _known(entry: Entry) -> list[str]:
    """Besides what is changed."""
    if entry.room == "model_editing":
        return ["that model"]
    if entry.room == "training_controlled":
        return ["all of the training"]
    surrogates = entry.can("surrogates").values()
    # Who builds models needs something to train them on.
    trains = bool(entry.can("needs")) or any(not s["foreign"] for s in surrogates)
    trains = trains or bool(entry.can("shares_trigger") and not entry.can("foreign_field"))
    foreign = entry.can("foreign_field")
    known = ["the training set"] if trains else []
    known += ["other images like them"] if foreign and entry.default(foreign) else []
    return known + (["the architecture"] if "architecture" in entry.can("needs") else [])
