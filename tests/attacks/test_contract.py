from typing import Any

import pytest
from torch import Tensor

from bdb import registry
from bdb.attacks.data_poisoning.badnets import BadNets
from bdb.edges import ATTACK_EDGES, check_attack_edge
from bdb.errors import ParamsError
from bdb.testing import check_attack

MADE = [
    name
    for name in registry.names("attack")
    if not registry.get("attack", name).brought  # type: ignore[attr-defined]
]
DIRTY = [
    name
    for name in MADE
    if registry.get("attack", name).label_mode == "dirty"  # type: ignore[attr-defined]
]


@pytest.mark.parametrize("name", MADE)
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


@pytest.mark.parametrize("name", MADE)
@pytest.mark.parametrize("edge", ATTACK_EDGES)
def test_odd_data_end_in_a_right_result_or_in_one_line(name: str, edge: str) -> None:
    check_attack_edge(registry.get("attack", name), edge)  # type: ignore[arg-type]


@pytest.mark.parametrize("rule", ["all-to-all", "multi-target", "random"])
@pytest.mark.parametrize("name", DIRTY)
def test_every_target_rule_with_many_classes(name: str, rule: str) -> None:
    check_attack_edge(
        registry.get("attack", name),  # type: ignore[arg-type]
        "64 pixels and 43 classes",
        target_rule=rule,
        targets=(1, 14, 42) if rule == "multi-target" else (),
    )


@pytest.mark.parametrize(
    "said", ["odd", "somewhere: odd", "badnets.size: odd", "margin + size: odd"]
)
def test_a_line_that_names_no_field_is_no_right_end(said: str) -> None:
    class Falls(BadNets):
        """Ends in an error."""

        def stamp(self, *_: Any, **__: Any) -> Tensor:
            raise ParamsError(said)

    with pytest.raises(AssertionError, match="one line that names a field"):
        check_attack_edge(Falls, "one channel")
