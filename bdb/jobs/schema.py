"""The JSON schema of params.yaml, made from the catalogue: for editors, and for Snakemake.

It accepts whatever `bdb.params` accepts. What it cannot say is left to `bdb check`: which methods
another package brings, and what of the grid makes sense.
"""

from __future__ import annotations

from typing import Any

import yaml

from bdb.jobs.catalogue import Catalogue, Entry
from bdb.jobs.sweeps import VARY
from bdb.method import METHOD
from bdb.params import AXES, Settings
from bdb.training.recipes import RECIPES, Recipe

PATH = "workflow/schemas/params.schema.yaml"
HEADER = f"""\
# The schema of params.yaml: its keys, and every method's fields with ranges and defaults.
# Made from the registry by `bdb schema {PATH}`; do not edit.
# Editors with a YAML language server check and complete params.yaml by it, for its line
# `# yaml-language-server: $schema={PATH}`.
"""

Schema = dict[str, Any]

# Also a method of another package, which has no such field.
_INSTANCE: Schema = {
    "type": "object",
    "description": "an instance: a name of one's own for a method under fields of its own",
    "properties": {
        METHOD: {"type": "string", "description": "the method that it is an instance of"},
        VARY: {
            "description": "a sweep: these fields, or all that are numbers, each at half its value "
            "and at twice",
            "anyOf": [{"const": "all"}, {"type": "array", "items": {"type": "string"}}],
        },
    },
}


def text(catalogue: Catalogue) -> str:
    """The schema as a YAML file."""
    body = yaml.safe_dump(make(catalogue), sort_keys=False, allow_unicode=True, width=100)
    return HEADER + body


def make(catalogue: Catalogue) -> Schema:
    """The schema of params.yaml, with all that the catalogue knows."""
    whole = _tidy(Settings.model_json_schema())
    properties = whole["properties"]
    properties["training"] = _training()
    one, several = properties["grid"]["oneOf"]
    for kind, section in AXES.items():
        for product in (one, several["items"]):
            axis = product["properties"][kind]
            axis["items"] = _name(axis["items"], catalogue.names(kind))
        properties[section] = _section(kind, catalogue.entries[kind])
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "params.yaml of bdb",
        **whole,
    }


def _name(pattern: Schema, names: list[str]) -> Schema:
    """A name on the grid: one that is known, a glob, an instance, or of another package."""
    return {"anyOf": [{"enum": names}, pattern]}


def _section(kind: str, entries: dict[str, Entry]) -> Schema:
    return {
        "type": "object",
        "description": f"fields of each {kind} that differ from their defaults",
        "properties": {name: _method(entry) for name, entry in entries.items()},
        "additionalProperties": _INSTANCE,
    }


def _method(entry: Entry) -> Schema:
    description = entry.summary
    if entry.paper:
        description += " {authors}: {title}. {venue} {year}.".format(**entry.paper)
    return {**_tidy(entry.schema), "description": description}


def _training() -> Schema:
    """A recipe's name, and its fields; a field's default is what the recipe says."""
    schema = _tidy(Recipe.model_json_schema())
    recipe = {"type": "string", "enum": list(RECIPES), "default": "fast"}
    for name, field in schema["properties"].items():
        del field["default"]
        values = (f"{key}: {getattr(recipe, name)}" for key, recipe in RECIPES.items())
        said = [field.pop("description")] if "description" in field else []
        field["description"] = "; ".join([*said, *values])
    properties = {"recipe": recipe, **schema["properties"]}
    description = "a named recipe, and what differs from it; data sets have changes of their own"
    return {**schema, "description": description, "properties": properties}


def _tidy(schema: Schema) -> Schema:
    """A schema as pydantic gives it, without titles, and with its definitions in place."""
    definitions = schema.get("$defs", {})

    def visit(part: Any) -> Any:
        if isinstance(part, list):
            return [visit(item) for item in part]
        if not isinstance(part, dict):
            return part
        if "$ref" in part:
            here = {key: value for key, value in part.items() if key != "$ref"}
            return visit(definitions[part["$ref"].rpartition("/")[2]] | here)
        kept = {key: value for key, value in part.items() if key not in ("title", "$defs")}
        names = kept.pop("properties", None)
        if names is not None:  # whose keys are fields, which may well be called title
            kept["properties"] = {name: visit(field) for name, field in names.items()}
        return {key: value if key == "properties" else visit(value) for key, value in kept.items()}

    tidied: Schema = visit(schema)
    return tidied
