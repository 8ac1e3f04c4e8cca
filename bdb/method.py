"""What attacks, defenses, analyses, data sets and architectures have in common."""

from __future__ import annotations

import inspect
from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from bdb.errors import ParamsError, short

# The key in params.yaml that makes a name an instance of a method; no method has such a field.
METHOD = "method"

# Where a backdoor shows: what a defense looks at, and an attack that knows of it hides in.
Trace = Literal["features", "weights", "inputs"]


class Frozen(BaseModel):
    """A pydantic model that cannot change and refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Paper(Frozen):
    """Where a method was published."""

    title: str
    authors: str
    venue: str
    year: int
    url: str | None = None

    def __str__(self) -> str:
        return f"{self.authors}: {self.title}. {self.venue} {self.year}"


class Method(Frozen):
    """A registered class whose fields are its hyper-parameters.

    What it can do and what it needs are class variables, which the catalogue reads; there is no
    logic in construction beyond the ranges that the fields declare. `room` names the class variable
    whose value is the sub-package that the kind's methods of this sort lie in.
    """

    kind: ClassVar[str]
    room: ClassVar[str] = ""
    name: ClassVar[str] = ""
    paper: ClassVar[Paper | None] = None

    @classmethod
    def make(cls, **fields: Any) -> Self:
        """Build the method from fields as they stand in params.yaml.

        Raises:
            ParamsError: a field is unknown or out of range.
        """
        try:
            return cls(**fields)
        except ValidationError as error:
            first = error.errors()[0]
            key = ".".join(str(part) for part in (cls.kind, cls.name, *first["loc"]))
            raise ParamsError(f"{key}: {short(first['input'])}: {first['msg']}") from None

    @classmethod
    def summary(cls) -> str:
        """The first line of the docstring."""
        return (cls.__doc__ or "").strip().split("\n")[0]

    @classmethod
    def differs(cls) -> str:
        """How it departs from its paper or a reference: the docstring's paragraph on it, if any."""
        paragraphs = inspect.cleandoc(cls.__doc__ or "").split("\n\n")
        return " ".join(" ".join(p.split()) for p in paragraphs if p.startswith("Differs:"))

    @classmethod
    def capabilities(cls) -> dict[str, Any]:
        """Every class variable that the kind declares, as plain JSON values."""
        own = {"kind", "room", "name", "paper", "model_config"}
        names = {
            name
            for base in cls.__mro__
            for name in getattr(base, "__class_vars__", ())
            if not name.startswith("_") and name not in own
        }
        return {name: _plain(getattr(cls, name)) for name in sorted(names) if hasattr(cls, name)}


def _plain(value: Any) -> Any:
    """Turn a class variable into what JSON can hold."""
    if isinstance(value, (set, frozenset)):
        return sorted(value)
    if isinstance(value, BaseModel):
        return value.model_dump()
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value
