"""The user's own modules: imported anew where they, or what they import, were edited since.

One process may judge several times, as a notebook does, with edits in between. What did not change is kept,
so that its classes stay the same objects.
"""

import ast
import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.metadata import entry_points
from importlib.util import decode_source, module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from xattr_check.storage.digest import digest
from xattr_check.storage.sources import IMPORTED_TEXT, package_of
from xattr_check.storage.surroundings import is_installed

# The text of what is imported later, inside a function, as it was when it was first seen.
_awaited: dict[str, str] = {}
# What else came into being while a module was imported, as by importlib.import_module.
_came_along: dict[str, set[str]] = {}


def import_current(name: str) -> ModuleType:
    """A module by its name, as its file and those that it imports are now."""
    importlib.invalidate_caches()
    file = None if name == "__main__" else _find(name)
    if file is None:
        return importlib.import_module(name)
    # The folder of its outermost package is where it is imported from.
    folders = (Path.cwd(), (package_of(file) or file).parent)
    if not _is_own(file, folders):
        return importlib.import_module(name)
    return _Imports(name, file, folders).renew()


def import_file(file: Path) -> ModuleType:
    """The module of a file, under a name of its own, as it and those that it imports are now."""
    importlib.invalidate_caches()
    return _Imports(_name_of(file), file, (Path.cwd(), file.parent)).renew()


def _name_of(file: Path) -> str:
    """The name of a file's module: two files of one name in two folders are two modules."""
    plain = f"_xattr_file_{file.stem}"
    names = (plain, *(f"{plain}_{number}" for number in range(2, len(sys.modules))))
    return next(name for name in names if name not in sys.modules or _file_of(sys.modules[name]) == file)


@dataclass
class _Imports:
    """A module and the user's own modules that it imports, and those that these import.

    folders: those whose modules are the user's own.
    files: where each lies. below: what each imports.
    """

    name: str
    file: Path
    folders: tuple[Path, ...]
    files: dict[str, Path] = field(default_factory=dict)
    below: dict[str, set[str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.files[self.name] = self.file
        waiting = [self.name]
        while waiting:
            name = waiting.pop()
            self.below[name] = set(self._own(_named_in(name, self.files[name])))
            waiting += self.below[name] - self.below.keys() - set(waiting)

    def _own(self, names: set[str]) -> Iterator[str]:
        for name in names:
            if name not in self.files:
                # Found as an import would find it, and not where it came from when it was imported.
                file = _find(name) if _may_be_own(name.partition(".")[0], self.folders) else None
                if file is None or not _is_own(file, self.folders):
                    continue
                self.files[name] = file
            yield name

    def renew(self) -> ModuleType:
        """The module; what is outdated is imported again."""
        outdated = self._outdated()
        for name in outdated:
            sys.modules.pop(name, None)
        with _reading(self.folders):
            module = self._import()
            # Else a function that imports one of them might get it from a cache of the same second.
            for name in outdated - sys.modules.keys():
                with suppress(Exception):  # told where it is asked for
                    importlib.import_module(name)
        return module

    def _outdated(self) -> set[str]:
        """Those that were edited since they were imported, and those that import them."""
        found = {name for name, file in self.files.items() if _was_edited(name, file)}
        while above := {name for name, below in self.below.items() if below & found} - found:
            found |= above
        return {name for name in found if name in sys.modules}

    def _import(self) -> ModuleType:
        if not self.name.startswith("_xattr_file_"):
            return importlib.import_module(self.name)
        if self.name in sys.modules:
            return sys.modules[self.name]
        spec = spec_from_file_location(self.name, self.file, loader=_Loader(self.name, str(self.file)))
        if spec is None or spec.loader is None:
            raise ImportError(f"{self.file} cannot be imported as Python")
        module = module_from_spec(spec)
        sys.modules[self.name] = module
        try:
            spec.loader.exec_module(module)
        except BaseException:
            del sys.modules[self.name]
            raise
        return module


def _was_edited(name: str, file: Path) -> bool:
    """Whether a module is not what its file says now; what was not seen before is taken for what it says."""
    try:
        text = _digest(file.read_bytes())
    except (OSError, ValueError, SyntaxError):  # not there, or not in its encoding: its import will tell
        return True
    module = sys.modules.get(name)
    if module is None:
        _awaited[name] = text
        return False
    before = vars(module).setdefault(IMPORTED_TEXT, _awaited.pop(name, text))
    return before != text or _file_of(module) != file


def _digest(data: bytes) -> str:
    return digest(decode_source(data))


class _Loader(SourceFileLoader):
    """Compiles the text and notes its digest: a cached one may be of an earlier text of the same second."""

    def get_code(self, fullname: str) -> Any:
        data = self.get_data(self.path)
        if fullname in sys.modules:
            setattr(sys.modules[fullname], IMPORTED_TEXT, _digest(data))
        return self.source_to_code(data, self.path)

    def exec_module(self, module: ModuleType) -> None:
        # A package that is imported anew has those of its modules that are not.
        for name in list(sys.modules):
            package, _, child = name.rpartition(".")
            if package == module.__name__:
                setattr(module, child, sys.modules[name])
        before = set(sys.modules)
        super().exec_module(module)
        _came_along[module.__name__] = set(sys.modules) - before


@dataclass
class _Finder:
    """Finds what `sys.path` has, and gives the user's own modules a loader that notes their text."""

    folders: tuple[Path, ...]

    def find_spec(self, name: str, path: Any = None, target: ModuleType | None = None) -> ModuleSpec | None:
        """As `importlib.abc.MetaPathFinder.find_spec`; None for what is not the user's own."""
        spec = PathFinder.find_spec(name, path, target)
        if spec is None or type(spec.loader) is not SourceFileLoader or spec.origin is None:
            return None
        if not _is_own(Path(spec.origin).resolve(), self.folders):
            return None
        spec.loader = _Loader(name, spec.origin)
        return spec


@contextmanager
def _reading(folders: tuple[Path, ...]) -> Iterator[None]:
    """Note the texts of own modules that are imported meanwhile."""
    finder = _Finder(folders)
    # After those of others, such as pytest's, which rewrites assertions.
    place = sys.meta_path.index(PathFinder) if PathFinder in sys.meta_path else len(sys.meta_path)
    sys.meta_path.insert(place, finder)
    try:
        yield
    finally:
        sys.meta_path.remove(finder)


def _find(name: str) -> Path | None:
    """The source file that an import of a dotted name would read; imports nothing."""
    path, spec = None, None
    for end in [*(place for place, sign in enumerate(name) if sign == "."), len(name)]:
        if spec is not None and path is None:
            return None  # something in a module
        spec = PathFinder.find_spec(name[:end], path)
        if spec is None:
            return None
        path = spec.submodule_search_locations
    is_source = spec is not None and spec.origin is not None and isinstance(spec.loader, SourceFileLoader)
    return Path(str(spec.origin)).resolve() if is_source and spec is not None else None


def _file_of(module: ModuleType) -> Path | None:
    file = getattr(module, "__file__", None)
    return None if file is None else Path(file).resolve()


def _may_be_own(package: str, folders: tuple[Path, ...]) -> bool:
    """Whether a top-level name lies in one of the folders; most are installed, and need no second look."""
    spec = PathFinder.find_spec(package)
    if spec is None:
        return False
    places = [spec.origin, *(spec.submodule_search_locations or ())]
    return any(_is_own(Path(place).resolve(), folders) for place in places if place is not None)


def _is_own(file: Path, folders: tuple[Path, ...]) -> bool:
    """Whether a file is the user's own: in one of the folders, not installed, and in no package of checks."""
    if not any(file.is_relative_to(folder) for folder in folders):
        return False
    package = package_of(file) if file.suffix else file
    declared = package is not None and package.name in _declared()
    return not (declared or is_installed(file))


@cache
def _declared() -> frozenset[str]:
    """The packages whose methods, checks and subjects are known by name: each is imported once."""
    groups = ("methods", "axioms", "fixtures", "adapters")
    points = [point for group in groups for point in entry_points(group=f"xattr_check.{group}")]
    modules = [point.value.partition(":")[0] for point in points]
    return frozenset({"xattr_check", "pytest_xattr", *(module.partition(".")[0] for module in modules)})


def _named_in(name: str, file: Path) -> set[str]:
    """The dotted names that a module may import, inside functions too; some are of what is in a module."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    try:
        return set(_imported(file.read_bytes(), package)) | _came_along.get(name, set())
    except (OSError, ValueError, SyntaxError):
        return set()


@cache
def _imported(text: bytes, package: str) -> tuple[str, ...]:
    found: list[Any] = []
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                parts = alias.name.split(".")
                found += [".".join(parts[:end]) for end in range(1, len(parts) + 1)]
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join(filter(None, [*above, node.module]))
            found += [base, *(f"{base}.{alias.name}" for alias in node.names)]
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            found += [one.value for one in node.args[:1] if isinstance(one, ast.Constant)]
    return tuple(dict.fromkeys(name for name in found if name and isinstance(name, str)))
