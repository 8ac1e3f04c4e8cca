"""A pickle machine that moves values about, and makes none: what a pickle would look up."""

from __future__ import annotations

import pickletools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import BinaryIO

from bdb.errors import SuspectError, short
from bdb.scan.bounded import Bounded

# A tuple of more members, written out, is hashed for ever; a deeper one ends the program.
_MEMBERS = 1 << 16
_DEPTH = 64


@dataclass(frozen=True)
class _Item:
    """What is known of a value on the pickle machine's stack."""

    text: str | None = None
    members: int = 1
    depth: int = 0
    largest: int = 0


class Machine:
    """A pickle machine that moves values about, and makes none."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.stack: list[_Item] = []
        self.marks: list[int] = []
        self.memo: dict[int, _Item] = {}

    def called(self, stream: BinaryIO, limit: int) -> Iterator[str]:
        """The names that the pickle would look up."""
        for opcode, value, _ in pickletools.genops(Bounded(stream, limit)):  # type: ignore[arg-type]
            yield from self._looked_up(opcode.name, value)
            self._step(opcode, value)

    def _looked_up(self, name: str, value: object) -> Iterator[str]:
        if name in ("GLOBAL", "INST"):
            yield str(value).replace(" ", ".")
        elif name == "STACK_GLOBAL":
            module, attribute = (item.text for item in self.stack[-2:])
            known = module is not None and attribute is not None
            yield f"{module}.{attribute}" if known else "a name that it makes up"
        elif name.startswith("EXT"):
            yield f"extension {short(value)}"
        elif name == "PERSID":
            yield f"persistent {short(value)}"

    def _step(self, opcode: pickletools.OpcodeInfo, value: object) -> None:
        name = opcode.name
        if name == "MARK":
            self.marks.append(len(self.stack))
        elif name == "MEMOIZE":
            self.memo[len(self.memo)] = self.stack[-1]
        elif name.endswith("PUT"):
            self.memo[int(str(value))] = self.stack[-1]
        elif name.endswith("GET"):
            self.stack.append(self.memo[int(str(value))])
        elif name == "DUP":
            self.stack.append(self.stack[-1])
        elif name == "POP" and self.marks and self.marks[-1] == len(self.stack):
            self.marks.pop()
        else:
            taken = self._take(opcode)
            if name == "BINPERSID" and taken[0].largest > self.room:
                raise SuspectError("a storage larger than the file")
            self.stack += [_made(name, value, taken)] * len(opcode.stack_after)

    def _take(self, opcode: pickletools.OpcodeInfo) -> list[_Item]:
        """Take off the stack what an opcode takes."""
        count = len(opcode.stack_before)
        if pickletools.markobject in opcode.stack_before:
            begin = self.marks.pop() - opcode.stack_before.index(pickletools.markobject)
        else:
            begin = len(self.stack) - count
        if begin < 0:
            raise ValueError("nothing is left on the stack")
        taken, self.stack[begin:] = self.stack[begin:], []
        return taken


def _made(name: str, value: object, taken: Sequence[_Item]) -> _Item:
    """What an opcode puts on the stack; only of tuples is it known what they hold."""
    if not name.startswith(("TUPLE", "FROZENSET")):
        text = value if isinstance(value, str) else None
        return _Item(text, largest=abs(value) if isinstance(value, int) else 0)
    made = _Item(
        members=1 + sum(item.members for item in taken),
        depth=1 + max((item.depth for item in taken), default=0),
        largest=max((item.largest for item in taken), default=0),
    )
    if made.members > _MEMBERS or made.depth > _DEPTH:
        raise SuspectError("a tuple within a tuple, over and over")
    return made
