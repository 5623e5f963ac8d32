"""The command `xattr-check new`: a check, a method or a subject to start from, with its test.

In the repository of xattr-check they go where CONTRIBUTING.md says, elsewhere to the package that an entry
point of pyproject.toml names. What is written runs: a test of it passes, and has a broken method that fails.
"""

import argparse
import ast
import keyword
import os
import re
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from importlib.metadata import entry_points
from pathlib import Path
from string import Template

from xattr_check.cli.catalogue import files_of
from xattr_check.cli.parser import Parser
from xattr_check.errors import UsageError
from xattr_check.wording import nearest

TEMPLATES = Path(__file__).parent / "templates"
WIDTH = 110


@dataclass(frozen=True)
class Noun:
    """What can be begun.

    group: its entry points; folder: of a package that has none yet. decorators: by which it is declared.
    here, sorts: its package in the repository of xattr-check, and which folders there are in it, if any.
    """

    name: str
    group: str
    folder: str
    decorators: frozenset[str]
    here: str
    sorts: str = ""
    usual: str = ""


NOUNS = (
    Noun(
        "check",
        "xattr_check.axioms",
        "axioms",
        frozenset({"axiom", "contract"}),
        "axioms/xattr_axioms",
        sorts="family",
        usual="faithfulness",
    ),
    Noun(
        "method",
        "xattr_check.methods",
        "methods",
        frozenset({"method"}),
        "plugins/xattr_methods",
        sorts="kind",
        usual="gradients",
    ),
    Noun("subject", "xattr_check.fixtures", "fixtures", frozenset({"fixture"}), "fixtures/xattr_fixtures"),
)


@dataclass(frozen=True)
class Place:
    """Where a file goes: its package, dotted and as a folder, and the folder of its test.

    missing: the lines of pyproject.toml without which it takes no part. own: in xattr-check's own repository.
    """

    package: str
    folder: Path
    tests: Path
    missing: str = ""
    own: bool = False


def add(parser: Parser) -> None:
    """Declare the arguments."""
    parser.description = "Write a check, a method or a subject and its test, which passes, to start from."
    parser.epilog = "What is there already is left as it is. Exit codes: 0; 2 for a mistake."
    nouns = parser.add_subparsers(dest="noun", required=True, metavar="check|method|subject")
    for noun in NOUNS:
        one = nouns.add_parser(noun.name, help=f"a {noun.name}, as NAME.py, and tests/…/test_NAME.py")
        one.add_argument("name", help="a name of Python, in lower case: null_gap")
        if noun.sorts:
            known = ", ".join(sorted(_sorts(Path(__file__).parents[2] / noun.here))) or "a name"
            told = f"{known}; default: {noun.usual}"
            one.add_argument(f"--{noun.sorts}", default=noun.usual, metavar=noun.sorts.upper(), help=told)
        one.add_argument(
            "--into",
            metavar="PACKAGE",
            help="the package it goes to, dotted, in place of the one that pyproject.toml names",
        )
        one.set_defaults(run=_new, about=noun)


def _new(arguments: argparse.Namespace) -> int:
    noun: Noun = arguments.about
    name: str = arguments.name
    sort: str = getattr(arguments, noun.sorts, "")
    root = next((one for one in (Path.cwd(), *Path.cwd().parents) if _is_root(one)), Path.cwd())
    place = _place(noun, root, sort, arguments.into)
    _check_name(noun, name, place)
    _check_words(noun, name, sort, place)
    paths = place.folder / f"{name}.py", place.tests / f"test_{name}.py"
    texts = (rendered(kind, name, sort, place) for kind in _templates(noun, sort))
    _write(_packages(noun, place) | dict(zip(paths, texts, strict=True)))
    file, test = (_shown(path) for path in paths)
    print(f"written: {file}")
    print(f"written: {test}, with a broken method that it must tell")
    if place.missing:
        print(f"to take part, add to pyproject.toml, and install the package again:\n\n{place.missing}\n")
    print(f"next: pytest {test}")
    return 0


def _is_root(folder: Path) -> bool:
    return (folder / "pyproject.toml").is_file()


def _place(noun: Noun, root: Path, sort: str, into: str | None) -> Place:
    """Where a file goes. Raises UsageError where that cannot be told."""
    if all((root / one.here).is_dir() for one in NOUNS) and into is None:
        return _place_here(noun, root, sort)
    if noun.name == "method" and sort != noun.usual:
        raise UsageError(
            "the kinds are folders of xattr-check's own methods", option="--kind", value=sort, hint="omit it"
        )
    if not sort.isidentifier() and sort:
        raise UsageError(option=f"--{noun.sorts}", value=sort, expected="a name of Python")
    project = _project(root)
    points = project.get("entry-points", {}).get(noun.group, {})
    package = into or next(iter(points.values()), None) or f"{_package_of(root, project)}.{noun.folder}"
    parts = package.split(".")
    if not all(part.isidentifier() for part in parts):
        raise UsageError(option="--into", value=package, expected="a package, for example mypackage.checks")
    source = root / "src" if (root / "src" / parts[0]).is_dir() else root
    if into is None and points and not source.joinpath(*parts).is_dir():
        problem = f"there is no folder {_shown(source.joinpath(*parts))}, which an entry point names"
        raise UsageError(problem, place="pyproject.toml", hint="say another package with --into=PACKAGE")
    missing = ""
    if package not in points.values():
        missing = f'[project.entry-points."{noun.group}"]\n{parts[0]} = "{package}"'
    return Place(package, source.joinpath(*parts), root / "tests", missing)


def _place_here(noun: Noun, root: Path, sort: str) -> Place:
    """In the repository of xattr-check, by family or kind."""
    folder = root / noun.here
    if noun.sorts:
        known = _sorts(folder)
        if sort not in known:
            hint = nearest(sort, known)
            expected = f"a folder of {noun.here}"
            raise UsageError(option=f"--{noun.sorts}", value=sort, expected=expected, hint=hint)
        folder /= sort
    package = ".".join(folder.relative_to(root).parts[1:])
    tests = root.joinpath("tests", *package.split("."))
    return Place(package, folder, tests, own=True)


def _sorts(folder: Path) -> set[str]:
    """The families or kinds in a package of the repository; a control is no method to start from."""
    return {path.parent.name for path in folder.glob("*/__init__.py")} - {"controls"}


def _project(root: Path) -> dict[str, dict[str, dict[str, str]]]:
    """The table `project` of a pyproject.toml; empty where there is none. Raises UsageError."""
    try:
        found = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"not TOML: {error}", place="pyproject.toml") from None
    project: dict[str, dict[str, dict[str, str]]] = found.get("project", {})
    return project


def _package_of(root: Path, project: dict[str, dict[str, dict[str, str]]]) -> str:
    """The package of a project: that of its name, or the only one. Raises UsageError."""
    found = sorted(
        path.parent.name for path in (*root.glob("*/__init__.py"), *root.glob("src/*/__init__.py"))
    )
    found = [one for one in found if one != "tests"]
    named = re.sub(r"[-.]+", "_", str(project.get("name", "")))
    if named in found or len(found) == 1:
        return named if named in found else found[0]
    came = f"{len(found)}: {', '.join(found)}" if found else "none"
    raise UsageError(
        option="new", expected="one package in this folder", came=came, hint="say which with --into=PACKAGE"
    )


def _check_name(noun: Noun, name: str, place: Place) -> None:
    """Raise UsageError for what is no name, or is taken."""
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or keyword.iskeyword(name):
        expected = "a name of Python in lower case, for example null_gap"
        raise UsageError(option=noun.name, value=name, expected=expected)
    known = set(declared(noun, place))
    if name in known:
        near = nearest(name, known - {name})
        raise UsageError("the name is taken", option=noun.name, value=name, hint=near)


def declared(noun: Noun, place: Place | None = None) -> Iterator[str]:
    """The names that are taken, read from the sources: what is new is not in any catalogue yet."""
    packages = {point.value for point in entry_points(group=noun.group)}
    files = {file for package in packages for file in files_of(package)}
    for file in files | set(place.folder.glob("*.py") if place else ()):
        with suppress(SyntaxError, UnicodeDecodeError):  # one that is being written
            yield from _declared(ast.parse(file.read_text(encoding="utf-8")), file.stem, noun.decorators)


def _declared(module: ast.Module, name: str, decorators: frozenset[str]) -> Iterator[str]:
    """What a module of that name declares by one of the decorators."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef) and node.decorator_list:
            calls = (one.func if isinstance(one, ast.Call) else one for one in node.decorator_list)
            names = {ast.unparse(one).rpartition(".")[2] for one in calls}
            # A decorator may be made of the usual ones; a file is then called as what it declares.
            if decorators & names or node.name == name:
                yield node.name


def _check_words(noun: Noun, name: str, sort: str, place: Place) -> None:
    """Raise UsageError for a name that means something else in what would be written."""
    fields = ("id", "arg", "name", "asname")
    for kind in _templates(noun, sort):
        for node in ast.walk(ast.parse(rendered(kind, "_", sort, place))):
            if name in (getattr(node, field, None) for field in fields):
                problem = "it means something else in the file that would be written"
                raise UsageError(problem, option=noun.name, value=name)


def _templates(noun: Noun, sort: str) -> tuple[str, str]:
    """The templates of a file and of its test: some families and kinds have their own."""
    own = f"{noun.name}_{sort}"
    kind = own if (TEMPLATES / f"{own}.py.txt").is_file() else noun.name
    return kind, f"{kind}_test"


def rendered(template: str, name: str, sort: str, place: Place) -> str:
    """A template filled in, with its imports in the order that linters want where it goes."""
    own = f"from {place.package}.{name} import {name}"
    if len(own) > WIDTH:
        own = f"from {place.package}.{name} import (\n    {name},\n)"
    # Here xattr_check is the house's own, and stands among its packages; elsewhere it is one of many.
    first = place.own and own < "from xattr_check"
    before = ("\n" if place.own else "") + (f"{own}\n" if first else "")
    after = "" if first else f"\n{own}" if place.own else f"\n\n{own}"
    text = (TEMPLATES / f"{template}.py.txt").read_text(encoding="utf-8")
    return Template(text).substitute(
        name=name,
        title=name.replace("_", " ").capitalize(),
        family=sort,
        claimed=sort == "exact",
        **_gate(sort),
        gap="\n" if place.own else "",
        before=before,
        after=after,
    )


def _gate(family: str) -> dict[str, str]:
    """The gate of a check: some families have no bound of their own, and hold a method against controls."""
    if family in ("faithfulness", "localisation"):
        return {"gate": "Beats", "bound": "0.1", "controls": 'positive=("oracle",)'}
    return {"gate": "AtLeast", "bound": "0.5", "controls": 'negative=("random",)'}


def _packages(noun: Noun, place: Place) -> dict[Path, str]:
    """What makes packages of the folders that are none yet, with its text."""
    folders = (place.folder, *place.folder.parents)[: place.package.count(".") + 1]
    texts = {one / "__init__.py": f'"""The package {one.name}."""\n' for one in folders}
    texts[place.folder / "__init__.py"] = f'"""{noun.name.capitalize()}s, one in each module."""\n'
    return {path: text for path, text in texts.items() if not path.exists()}


def _write(files: dict[Path, str]) -> None:
    """Write all files or none. Raises UsageError where one is there already, or cannot be written."""
    for path in files:
        if path.exists():
            problem = f"{_shown(path)} is there already, and is left as it is"
            raise UsageError(problem, option="new", hint="take another name")
    for path, text in files.items():
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except OSError as error:
            raise UsageError(
                option="new",
                value=_shown(path),
                expected="a file that can be written",
                came=str(error.strerror),
            ) from None


def _shown(path: Path) -> str:
    """A path as it is typed here."""
    return os.path.relpath(path)
