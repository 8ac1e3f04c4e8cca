"""The package's import graph, over the syntax tree: every import counts, wherever it stands."""

from graphlib import CycleError, TopologicalSorter

from bdb.jobs import code


def test_no_two_modules_import_each_other() -> None:
    sources = code.scan(code.files(["bdb"]))
    graph = {name: source.imports for name, source in sources.items()}
    assert "bdb.training.batches" in graph["bdb.training.graphs"]
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        raise AssertionError(" -> ".join(error.args[1])) from None
