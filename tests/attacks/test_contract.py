import pytest

from bdb import registry
from bdb.testing import check_attack

DIRTY = [
    name
    for name in registry.names("attack")
    if registry.get("attack", name).label_mode == "dirty"  # type: ignore[attr-defined]
]


@pytest.mark.parametrize("name", registry.names("attack"))
def test_attack_keeps_its_contract(name: str) -> None:
    check_attack(registry.get("attack", name))  # type: ignore[arg-type]


@pytest.mark.parametrize("name", DIRTY)
def test_all_to_all(name: str) -> None:
    check_attack(registry.get("attack", name), target_rule="all-to-all")  # type: ignore[arg-type]


@pytest.mark.parametrize("name", DIRTY)
def test_multi_target(name: str) -> None:
    check_attack(
        registry.get("attack", name),  # type: ignore[arg-type]
        target_rule="multi-target",
        targets=(1, 4, 7),
    )
