"""The source that a function's result follows from: its module, and what that imports of its own kind."""

import ast
import inspect
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from xattr_check.digest import digest

ENGINE = Path(__file__).parent


@cache
def source_digest(*functions: object) -> str:
    """Digest of the modules that define the functions, and of those of their packages and of the engine that
    these import at their top, and so on.

    What is imported inside a function tells of results, or reads options; it does not measure.
    """
    found: dict[str, str] = {}
    waiting = [Path(source) for one in functions if (source := inspect.getsourcefile(one)) is not None]  # type: ignore[arg-type]
    while waiting:
        file = waiting.pop()
        if str(file) not in found:
            text = file.read_text()
            found[str(file)] = text
            waiting += _imported(file, text)
    # Not by their folders: the same source is the same wherever it is installed.
    return digest({"/".join(Path(path).parts[-2:]): text for path, text in found.items()})


def _imported(file: Path, text: str) -> Iterator[Path]:
    """The modules that a file imports at its top, of its own package and of the engine."""
    packages = {folder.name: folder for folder in (ENGINE, _package(file)) if folder is not None}
    for node in ast.parse(text).body:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _modules(packages, alias.name)
        elif isinstance(node, ast.ImportFrom):
            name = node.module or ""
            if node.level:
                name = ".".join([*_parts(file, packages)[: -node.level], *filter(None, [name])])
            for alias in node.names:
                yield from _modules(packages, f"{name}.{alias.name}")


def _package(file: Path) -> Path | None:
    """The outermost package that a file is in, None where it is in none."""
    found = None
    folder = file.parent
    while (folder / "__init__.py").exists():
        found, folder = folder, folder.parent
    return found


def _parts(file: Path, packages: dict[str, Path]) -> list[str]:
    """The dotted name of a file's module, in parts."""
    folder = next(folder for folder in packages.values() if file.is_relative_to(folder))
    return [folder.name, *file.relative_to(folder).with_suffix("").parts]


def _modules(packages: dict[str, Path], name: str) -> Iterator[Path]:
    """The file of a dotted name, which may be that of something in a module."""
    head, *rest = name.split(".")
    if head not in packages:
        return
    for parts in (rest, rest[:-1]):
        path = packages[head].joinpath(*parts)
        for file in (path.with_suffix(".py"), path / "__init__.py"):
            if (parts and file.exists()) or file == packages[head] / "__init__.py":
                yield file
                return
