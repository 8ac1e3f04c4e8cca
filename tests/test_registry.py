from typing import ClassVar

import pytest

from bdb import registry
from bdb.attacks.data_poisoning.badnets import BadNets
from bdb.errors import ParamsError, RegistryError
from bdb.jobs.catalogue_text import ROOMS
from bdb.method import Method


def test_a_name_cannot_be_taken_twice() -> None:
    class Other(Method):
        """Another."""

        kind: ClassVar[str] = "attack"

    with pytest.raises(RegistryError, match="'badnets' is registered by"):
        registry.register("badnets")(Other)
    assert registry.get("attack", "badnets") is BadNets


@pytest.mark.parametrize("name", ["", "../x", "a/b", "A", "with space", "dash-ed", "é", "x" * 65])
def test_a_name_must_be_able_to_stand_in_paths(name: str) -> None:
    with pytest.raises(RegistryError, match="it stands in paths"):
        registry.register(name)(BadNets)
    assert BadNets.name == "badnets"


def test_fields_that_will_not_do_are_one_line() -> None:
    with pytest.raises(ParamsError) as error:
        BadNets.make(patch_size="wide" * 99)
    assert str(error.value).startswith("attack.badnets.patch_size: 'widewide")
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize("kind", ["attack", "defense", "analysis"])
def test_every_method_lies_in_its_room(kind: str) -> None:
    for name in registry.names(kind):
        cls = registry.get(kind, name)
        room = getattr(cls, cls.room)
        alone = room in ("control", "brought")  # one method, and no room of many
        parts = [] if alone else [room]
        assert room in ROOMS[cls.room]
        assert cls.__module__ == ".".join([registry.PACKAGES[kind], *parts, name])
        assert cls.room not in vars(cls) or alone, f"{name}: its room's class says so"


def test_registering_a_class_again_is_harmless() -> None:
    assert registry.register("badnets")(BadNets) is BadNets


def test_an_unknown_name_gives_the_nearest() -> None:
    with pytest.raises(RegistryError, match="did you mean 'badnets'"):
        registry.get("attack", "badnet")


def test_names_by_glob() -> None:
    assert "badnets" in registry.names("attack", "b*")
    assert registry.names("attack", "zz*") == []


def test_capabilities_are_plain_values() -> None:
    capabilities = BadNets.capabilities()
    assert capabilities["needs"] == []
    assert capabilities["controls_training"] is False
    assert "kind" not in capabilities
