from dataclasses import replace

import pytest

from bdb.jobs import catalogue
from bdb.jobs.catalogue import Entry
from bdb.jobs.threat import threat


def entry(name: str, room: str = "", **capabilities: object) -> Entry:
    found = catalogue.load().get("attack", name)
    changed = found.capabilities | capabilities
    return replace(found, room=room or found.room, capabilities=changed)


@pytest.mark.parametrize(
    ("attack", "changes", "knows", "technique"),
    [
        (entry("badnets"), "training images and their labels", "nothing but those", "AML.T0020"),
        (entry("sig"), "training images of the target class,", "nothing", "AML.T0020"),
        (entry("lf"), "training images and their labels", "the training set ", "AML.T0020"),
        (entry("wanet"), "how the victim is trained", "all of the training ", "AML.T0018"),
        (entry("badnets", label_mode="label-only"), "labels of", "nothing", "AML.T0020"),
        (
            entry("badnets", needs=["architecture"]),
            "training images",
            "the training set, the architecture ",
            "AML.T0020",
        ),
        (
            entry("badnets", shares_trigger=True),
            "training images",
            "the training set ",
            "AML.T0020",
        ),
        (entry("wanet", room="model_editing"), "the weights or", "that model ", "AML.T0018"),
        (entry("narcissus"), "training images of", "other images like them ", "AML.T0020"),
        (entry("refool"), "training images of", "the training set, the architecture ", "AML.T0020"),
    ],
)
def test_it_follows_from_what_an_attack_declares(
    attack: Entry, changes: str, knows: str, technique: str
) -> None:
    said = threat(attack)
    assert f"The attacker changes {changes}" in said
    assert f"has to know {knows}" in said
    assert f"MITRE ATLAS {technique}," in said


@pytest.mark.parametrize(
    ("name", "given", "gets"),
    [
        ("ft", "the suspect model and a few clean images", "a repaired model."),
        ("abl", "the training set under the labels given;", "a model of its own."),
        ("dpa", "the training set under", "a model of its own, and how many training samples"),
        ("ac", "the suspect model and the training set", "scores of the training samples and a"),
        ("strip", "the suspect model, a few clean", "scores of the inputs, and which to reject."),
        ("shrinkpad", "the suspect model;", "a model that treats its inputs."),
        ("head_norm", "the suspect model;", "a verdict on the model, with evidence (norm, "),
    ],
)
def test_it_follows_from_what_a_defense_declares(name: str, given: str, gets: str) -> None:
    said = threat(catalogue.load().get("defense", name))
    assert f"The defender must be given {given}" in said
    assert f"; gets {gets}" in said


def test_every_attack_and_defense_has_one_and_nothing_else_has() -> None:
    entries = catalogue.load().entries
    assert {name for name, each in entries["attack"].items() if not threat(each)} == {
        "imported",
        "none",
    }
    assert all(map(threat, entries["defense"].values()))
    others = set(entries) - {"attack", "defense"}
    assert not any(threat(each) for kind in others for each in entries[kind].values())
