"""The dependency rule: who may import whom, read from the imports themselves; a test lists all offenders."""

import ast
import copy
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
SOURCES = {
    "xattr_check": ROOT / "xattr_check",
    "xattr_axioms": ROOT / "axioms" / "xattr_axioms",
    "xattr_fixtures": ROOT / "fixtures" / "xattr_fixtures",
    "pytest_xattr": ROOT / "plugins" / "pytest_xattr",
    "xattr_methods": ROOT / "plugins" / "xattr_methods",
    "xattr_adapters": ROOT / "plugins" / "xattr_adapters",
}
# A package may always import itself; pytest_xattr may import all, inside functions.
ALLOWED = {
    "xattr_check": set(),
    "xattr_axioms": {"xattr_check"},
    "xattr_fixtures": {"xattr_check"},
    "xattr_methods": {"xattr_check"},
    "xattr_adapters": {"xattr_check", "xattr_methods"},
    "pytest_xattr": set(SOURCES),
}
BELOW_CORE = {"errors", "imports", "statistics", "storage"}
CORE = BELOW_CORE | {"core"}
# What each room of the engine may import, besides itself: the floors of the house.
ROOMS = {
    "errors": set(),
    "imports": set(),
    "wording": set(),
    "statistics": {"imports"},
    "storage": {"errors"},
    "core": BELOW_CORE,
    "perturbation": CORE,
    "networks": CORE,
    "search": CORE,
    "mutation": CORE | {"networks", "wording"},
    "config": CORE | {"mutation", "wording"},
    "concepts": CORE | {"perturbation"},
    "uses": CORE | {"perturbation"},
    "generation": CORE | {"perturbation", "wording"},
    "history": CORE | {"config", "wording"},
    "battery": CORE | {"config", "wording"},
    "diagnosis": CORE | {"battery", "config", "mutation", "wording"},
    "report": CORE | {"concepts", "config", "diagnosis", "history", "mutation", "uses", "wording"},
}
# The public face, and the command: they may import anything of the engine.
FACES = {"__init__", "api", "cli"}
FILES = [(package, path) for package, folder in SOURCES.items() for path in sorted(folder.rglob("*.py"))]


def imported(node: ast.AST) -> Iterator[str]:
    """Dotted names of what a tree imports, functions included; '.' for a relative import."""
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            yield from (alias.name for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield from ("." if child.level else f"{child.module}.{alias.name}" for alias in child.names)


def packages(node: ast.AST) -> set[str]:
    """The top-level packages that a tree imports."""
    return {name.partition(".")[0] or "." for name in imported(node)}


def module_level(tree: ast.Module) -> ast.Module:
    """The statements that run on import, those under TYPE_CHECKING and in functions left out."""

    class Strip(ast.NodeTransformer):
        def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
            return None

        def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
            return None

        def visit_If(self, node: ast.If) -> ast.AST | None:
            return None if ast.unparse(node.test) == "TYPE_CHECKING" else self.generic_visit(node)

    stripped: ast.Module = Strip().visit(copy.deepcopy(tree))
    return stripped


@cache
def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def where(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def room(path: Path) -> str:
    """The room of a file of the engine: its folder, or its own name in the top one."""
    return path.relative_to(SOURCES["xattr_check"]).with_suffix("").parts[0]


def test_every_source_root_is_shipped() -> None:
    folders = [
        path for path in ROOT.glob("*/*/__init__.py") if path.parts[-3] in ("axioms", "fixtures", "plugins")
    ]
    assert {path.parent.name for path in folders} | {"xattr_check"} == set(SOURCES)
    text = (ROOT / "pyproject.toml").read_text()
    assert [folder for folder in SOURCES.values() if f'"{folder.relative_to(ROOT)}"' not in text] == []


def test_imports_go_one_way() -> None:
    """Between packages; relative imports hide where a name comes from."""
    wrong = {
        where(path): sorted(found)
        for package, path in FILES
        if (found := packages(parse(path)) & {*SOURCES, "."} - ALLOWED[package] - {package})
    }
    assert wrong == {}


def test_rooms_import_only_what_is_below_them() -> None:
    assert {room(path) for package, path in FILES if package == "xattr_check"} == {*ROOMS, *FACES}
    wrong = {}
    for package, path in FILES:
        if package != "xattr_check" or room(path) in FACES:
            continue
        parts = [name.split(".") for name in imported(parse(path))]
        found = {part[1] for part in parts if part[0] == "xattr_check"} - ROOMS[room(path)] - {room(path)}
        if found:
            wrong[where(path)] = sorted(found)
    assert wrong == {}


def test_no_two_modules_import_each_other() -> None:
    """No circle in the engine, not even one that is hidden in a function or under TYPE_CHECKING."""
    modules = {
        path.relative_to(ROOT).with_suffix("").as_posix().replace("/", ".").removesuffix(".__init__"): path
        for package, path in FILES
        if package == "xattr_check"
    }
    arrows: dict[str, set[str]] = {}
    for name, path in modules.items():
        found = set(imported(parse(path)))
        arrows[name] = {one for one in found | {full.rpartition(".")[0] for full in found} if one in modules}
    # What has nothing below it is taken away until all is gone, or a circle is left.
    while free := [name for name, below in arrows.items() if not (below & arrows.keys()) - {name}]:
        for name in free:
            del arrows[name]
    assert sorted(arrows) == []


def test_the_nouns_need_no_tricks_to_import_each_other() -> None:
    files = [path for package, path in FILES if package == "xattr_check" and room(path) == "core"]
    assert [where(path) for path in files if "TYPE_CHECKING" in path.read_text(encoding="utf-8")] == []


def test_checks_lie_in_the_folder_of_their_family() -> None:
    from xattr_check import checks

    own = {
        name: check for name, check in checks().items() if check.measure.__module__.startswith("xattr_axioms")
    }
    assert own
    wrong = {
        name: check.measure.__module__
        for name, check in own.items()
        if check.measure.__module__ != f"xattr_axioms.{check.family}.{name}"
    }
    assert wrong == {}


def test_adapted_libraries_are_imported_when_they_are_asked_for() -> None:
    adapters = {path.stem for path in SOURCES["xattr_adapters"].glob("[!_]*.py")}
    assert {"captum", "zennit", "shap"} < adapters
    wrong = {
        where(path): sorted(found)
        for _, path in FILES
        if (found := packages(parse(path)) & (adapters | {"quantus"}))
    }
    assert wrong == {}, "they are imported through xattr_check.core.adapter.import_library"


def test_pytest_stays_out_of_the_library() -> None:
    """The plugin imports the library in functions: else every pytest run would wait for torch."""
    unwanted = {
        package: {"pytest", "_pytest", "xdist", "hypothesis"} if package != "pytest_xattr" else
        {"torch", *SOURCES} - {"pytest_xattr"}
        for package in SOURCES
    }  # fmt: skip
    wrong = {
        where(path): sorted(found)
        for package, path in FILES
        if (found := packages(module_level(parse(path))) & unwanted[package])
    }
    assert wrong == {}


def test_the_engine_names_no_check() -> None:
    """A branch on a name in the engine would be a list to edit for every new check."""
    names = {path.stem for path in SOURCES["xattr_axioms"].glob("*/[!_]*.py")}
    assert "deletion" in names
    wrong = {}
    for package, path in FILES:
        compared = {
            child.value
            for node in ast.walk(parse(path))
            if isinstance(node, ast.Compare)
            for child in ast.walk(node)
            if isinstance(child, ast.Constant) and isinstance(child.value, str)
        }
        if package == "xattr_check" and compared & names:
            wrong[where(path)] = sorted(compared & names)
    assert wrong == {}


# Who else asks how many axes there are, and of what: not of inputs or maps.
COUNTED_ELSEWHERE = {
    "xattr_check/core/subject.py": "of what is no batch at all",
    "xattr_check/core/examination.py": "of outputs",
    "xattr_check/core/returned.py": "of outputs, and of what else a model may return",
    "xattr_check/core/tokens.py": "of ids",
    "xattr_check/core/verdict.py": "of the rows of a measurement",
    "xattr_check/battery/item.py": "of the rows of a measurement",
    "xattr_check/report/charts.py": "of the rows of a measurement",
    "xattr_check/perturbation/outputs.py": "of ends of ranks, for all inputs or for each",
    "xattr_check/perturbation/subsets.py": "of sets of units, for all inputs or for each",
    "xattr_check/networks/layers.py": "of weights",
    "axioms/xattr_axioms/contract/preserves_inputs.py": "of inputs or targets, whichever changed",
}


def test_one_folder_knows_the_axes_of_inputs() -> None:
    """What the third axis of an input means is asked of its layout, of which there will be more kinds."""
    found = set()
    for package, path in FILES:
        for node in ast.walk(parse(path)) if package in ("xattr_check", "xattr_axioms") else ():
            if isinstance(node, ast.Compare):
                parts = list(ast.walk(node))
                counts = any(isinstance(part, ast.Attribute) and part.attr == "ndim" for part in parts)
                if counts and any(isinstance(part, ast.Constant) for part in parts):
                    found.add(where(path))
    found = {path for path in found if not path.startswith("xattr_check/core/layouts/")}
    assert found == set(COUNTED_ELSEWHERE)


def test_no_bare_assert() -> None:
    """`python -O` drops asserts; a verdict or an error carries a sentence."""
    wrong = [
        f"{where(path)}:{node.lineno}"
        for package, path in FILES
        if package in ("xattr_check", "xattr_axioms")
        for node in ast.walk(parse(path))
        if isinstance(node, ast.Assert)
    ]
    assert wrong == []


def unpickling(path: Path) -> Iterator[str]:
    """What in a file could run code that somebody else wrote."""
    yield from packages(parse(path)) & {
        *("pickle", "cPickle", "dill", "cloudpickle", "shelve", "marshal", "joblib")
    }
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
            if name in ("yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec"):
                yield f"{node.lineno}: {name}"
            if name == "torch.load" and keywords.get("weights_only") != "True":
                yield f"{node.lineno}: torch.load without weights_only=True"
            if name in ("np.load", "numpy.load") and keywords.get("allow_pickle", "False") != "False":
                yield f"{node.lineno}: {name} with allow_pickle"


def test_nothing_is_unpickled() -> None:
    assert {where(path): found for _, path in FILES if (found := list(unpickling(path)))} == {}
