from bdb import registry
from bdb.jobs import catalogue, catalogue_text


def test_it_holds_what_is_registered() -> None:
    known = catalogue.load()
    for kind in registry.PACKAGES:
        assert known.names(kind) == registry.names(kind)
    entry = known.get("attack", "wanet")
    assert entry.can("controls_training") is True
    assert entry.module == "bdb.attacks.wanet"
    assert known.get("defense", "strip").can("needs") == ["clean_set", "inputs", "model"]


def test_every_method_says_what_it_is_and_where_it_was_published() -> None:
    known = catalogue.load()
    for table in known.entries.values():
        for entry in table.values():
            assert entry.summary.endswith("."), entry.name
            if entry.kind in ("attack", "defense") and entry.name != "none":
                assert entry.paper, entry.name


def test_every_field_has_a_description() -> None:
    for kind in ("attack", "defense"):
        for entry in catalogue.load().entries[kind].values():
            for name, schema in entry.schema["properties"].items():
                assert schema.get("description"), f"{entry.name}.{name}"


def test_the_page_names_every_method() -> None:
    known = catalogue.load()
    page = catalogue_text.markdown(known)
    for table in known.entries.values():
        for name in table:
            assert f"### `{name}`" in page
