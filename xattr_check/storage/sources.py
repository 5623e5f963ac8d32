"""The source that a function's result follows from: its module, and the modules which that imports."""

import ast
import inspect
from collections.abc import Iterator
from functools import cache, partial
from pathlib import Path
from typing import Any

from xattr_check.storage.digest import digest

# The package's root.
ENGINE = Path(__file__).parents[1]
# Where a module of the user's has the digest of the text that it was imported from.
IMPORTED_TEXT = "__xattr_text__"


def source_digest(*functions: object) -> str:
    """Digest of the modules that define the functions, and of what these import at their top, and so on.

    Followed are the modules of the function's own package and of the engine. What is imported inside a
    function tells of results, or reads options; it does not measure.
    """
    found: dict[str, str] = {}
    for function in functions:
        if (source := _file_of(function)) is not None:
            status = source.stat()
            found |= _followed(source, status.st_size, status.st_mtime_ns)
    return digest("".join(f"{name}={found[name]};" for name in sorted(found)))


def text_digest(value: Any) -> str:
    """Digest of the text of the module that a function or a class is from; empty where there is none.

    Of the user's own modules, the text that was imported: the file may have been edited since.
    """
    for function in (value, *vars(value).values()) if isinstance(value, type) else (value,):
        names = getattr(inspect.unwrap(function), "__globals__", {}) if callable(function) else {}
        if IMPORTED_TEXT in names and names.get("__name__") == value.__module__:
            return str(names[IMPORTED_TEXT])
    try:
        return digest(Path(inspect.getsourcefile(value) or "").read_text(encoding="utf-8"))
    except (OSError, TypeError):
        return ""


@cache
def _file_of(function: Any) -> Path | None:
    while isinstance(function, partial):  # of which some parameters are fixed
        function = function.func
    source = inspect.getsourcefile(function)
    return None if source is None else Path(source)


@cache
def _followed(file: Path, size: int, changed: int) -> dict[str, str]:
    """Digests by name of a file and of all that it imports; these are as they were when first asked for."""
    found: dict[str, str] = {}
    seen, waiting = set(), [file]
    while waiting:
        if (one := waiting.pop()) not in seen:
            seen.add(one)
            name, content, imported = read(one)
            found[name] = content
            waiting += imported
    return found


def read(file: Path) -> tuple[str, str, tuple[Path, ...]]:
    """The name of a source file below its package, the digest of its text, and the files that it imports.

    The same source is the same wherever it is installed. A file is read once in a process, and again when it
    was changed meanwhile.
    """
    status = file.stat()
    return _read(file, status.st_size, status.st_mtime_ns)


@cache
def _read(file: Path, size: int, changed: int) -> tuple[str, str, tuple[Path, ...]]:
    text, package = file.read_text(encoding="utf-8"), package_of(file)
    name = file.name if package is None else file.relative_to(package.parent).as_posix()
    return name, digest(text), tuple(_list_imports(file, text))


def _list_imports(file: Path, text: str) -> Iterator[Path]:
    """The modules that a file imports at its top, of its own package and of the engine."""
    packages = {folder.name: folder for folder in (ENGINE, package_of(file)) if folder is not None}
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


def package_of(file: Path) -> Path | None:
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
                # What a package imports when it is asked for stands in a stub beside it.
                lazy = _stub(file.with_suffix(".pyi")).get(rest[-1] if rest else "")
                if lazy is None:
                    yield file
                else:
                    yield from _modules(packages, f"{head}.{lazy}.{rest[-1]}")
                return


@cache
def _stub(file: Path) -> dict[str, str]:
    """The modules that the names of a stub come from, below its package; none where there is no stub."""
    if not file.exists():
        return {}
    nodes = [
        node for node in ast.parse(file.read_text(encoding="utf-8")).body if isinstance(node, ast.ImportFrom)
    ]
    return {alias.name: node.module for node in nodes if node.module for alias in node.names}
