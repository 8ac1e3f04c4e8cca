"""Whom a method stands for.

Of an attack: what the attacker changes and has to know, and MITRE's name for it. Of a defense: what
the defender must be given, and gets.
"""

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
_GIVEN = {
    "model": "the suspect model",
    "train_set": "the training set under the labels given",
    "clean_set": "a few clean images with true labels (`clean_set` says how many)",
    "inputs": "the inputs that arrive",
}
_GETS = {
    "pre_training": "scores of the training samples and a model trained without the worst",
    "in_training": "a model of its own",
    "post_training": "a repaired model",
    "inference": "a model that treats its inputs",
}
_FINDS = {
    "pre_training": "scores of the training samples",
    "inference": "scores of the inputs, and which to reject",
    "model_level": "a verdict on the model",
}


def threat(entry: Entry) -> str:
    """The threat model of an attack or a defense in one sentence, from its class variables.

    Empty for other methods, for the control, and for what was made elsewhere.
    """
    return _of_defense(entry) if entry.kind == "defense" else _of_attack(entry)


def _of_defense(entry: Entry) -> str:
    # What the suspect makes of the training set needs no more than both.
    given = [words for need, words in _GIVEN.items() if need in entry.can("needs")]
    gets = (_GETS if entry.can("mitigates") else _FINDS).get(entry.room, "what it finds")
    certified = entry.can("certifies")
    proof = f", and how many {certified} each answer stands" if certified else ""
    shown = ", ".join(entry.can("evidence"))
    evidence = f", with evidence ({shown})" if shown else ""
    return f"The defender must be given {_listed(given)}; gets {gets}{proof}{evidence}."


def _listed(words: list[str]) -> str:
    return " and ".join(filter(None, (", ".join(words[:-1]), words[-1])))


def _of_attack(entry: Entry) -> str:
    if entry.kind != "attack" or not entry.can("poisons") or entry.can("brought"):
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
