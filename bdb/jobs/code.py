"""The identity of code: a hash of modules and of all that they import, without comments.

Taken over the syntax tree, and so the same after an edit of a comment, a docstring or the layout.
Nothing is imported: the files are read as text.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from bdb.errors import BdbError

# What a job prints, where files lie and how methods are found does not change what it computes.
PLUMBING = frozenset(
    {
        "bdb",
        "bdb.cli",
        "bdb.console",
        "bdb.errors",
        "bdb.layout",
        "bdb.params",
        "bdb.registry",
        "bdb.revision",
        "bdb.testing",
        "bdb.training.leases",
    }
)


@dataclass(frozen=True)
class Source:
    """One module: a hash of its syntax tree, and the known modules that it imports."""

    digest: str
    imports: tuple[str, ...]


def files(packages: Iterable[str]) -> dict[str, Path]:
    """Every module of these top-level packages or modules, by dotted name.

    What Python could not import by name is none: an editor's lock, a backup, a file system's notes.

    Raises:
        BdbError: a module is a link that leads nowhere.
    """
    found = {}
    for package in packages:
        spec = importlib.util.find_spec(package)
        if spec is None:
            continue
        for folder in spec.submodule_search_locations or ():
            for path in sorted(Path(folder).rglob("*.py")):
                name = _dotted(package, path.relative_to(folder))
                if all(part.isidentifier() for part in name.split(".")):
                    found[name] = _existing(path)
        if not spec.submodule_search_locations and spec.origin:
            found[package] = Path(spec.origin)
    return found


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise BdbError(f"{path}: not a file, though it is named as a module; remove it")
    return path


def scan(modules: Mapping[str, Path]) -> dict[str, Source]:
    """Read every module."""
    return {name: _read(name, path, modules) for name, path in modules.items()}


def identity(sources: Mapping[str, Source], modules: Iterable[str]) -> str:
    """Sixteen hexadecimal digits for these modules and all that they import."""
    digest = hashlib.sha256()
    for name in sorted(_closure(sources, modules)):
        digest.update(f"{name} {sources[name].digest}\n".encode())
    return digest.hexdigest()[:16]


def _closure(sources: Mapping[str, Source], modules: Iterable[str]) -> set[str]:
    seen: set[str] = set()
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        if name in seen or _is_plumbing(name) or name not in sources:
            continue
        seen.add(name)
        waiting.extend(sources[name].imports)
    return seen


def _is_plumbing(name: str) -> bool:
    return name in PLUMBING or name.startswith("bdb.jobs")


def _dotted(package: str, path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join((package, *(parts[:-1] if parts[-1] == "__init__" else parts)))


def _read(name: str, path: Path, modules: Mapping[str, Path]) -> Source:
    tree = ast.parse(path.read_text(encoding="utf-8"), filename=str(path))
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    imports = {module for module in _imports(tree, package, modules) if module != name}
    for node in ast.walk(tree):
        _strip_docstring(node)
    return Source(hashlib.sha256(ast.dump(tree).encode()).hexdigest(), tuple(sorted(imports)))


def _strip_docstring(node: ast.AST) -> None:
    if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
        first = node.body[0] if node.body else None
        is_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
        if is_text and isinstance(first.value.value, str):  # type: ignore[union-attr]
            del node.body[0]


def _imports(tree: ast.AST, package: str, modules: Mapping[str, Path]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in modules)
        elif isinstance(node, ast.ImportFrom):
            base = _base(node, package)
            for alias in node.names:
                whole = f"{base}.{alias.name}"
                yield whole if whole in modules else base


def _base(node: ast.ImportFrom, package: str) -> str:
    if not node.level:
        return node.module or ""
    parts = package.split(".")
    above = parts[: len(parts) - node.level + 1]
    return ".".join((*above, node.module) if node.module else above)
