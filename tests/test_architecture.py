"""The dependency rule: who may import whom, read from the imports themselves."""

import ast
import copy
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

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
FILES = [
    pytest.param(package, path, id=f"{package}/{path.relative_to(folder)}")
    for package, folder in SOURCES.items()
    for path in sorted(folder.rglob("*.py"))
]
ENGINE = [param for param in FILES if param.values[0] == "xattr_check"]
JUDGES = [param for param in FILES if param.values[0] in ("xattr_check", "xattr_axioms")]


def imports(node: ast.AST) -> Iterator[str]:
    """Top-level names of the packages that a tree imports, functions included."""
    for child in ast.walk(node):
        if isinstance(child, ast.Import):
            yield from (alias.name.split(".")[0] for alias in child.names)
        elif isinstance(child, ast.ImportFrom):
            yield "." if child.level else (child.module or "").split(".")[0]


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


def test_every_source_root_is_shipped() -> None:
    folders = [
        path for path in ROOT.glob("*/*/__init__.py") if path.parts[-3] in ("axioms", "fixtures", "plugins")
    ]
    assert {path.parent.name for path in folders} | {"xattr_check"} == set(SOURCES)
    text = (ROOT / "pyproject.toml").read_text()
    for folder in SOURCES.values():
        assert f'"{folder.relative_to(ROOT)}"' in text


@pytest.mark.parametrize(("package", "path"), FILES)
def test_imports_go_one_way(package: str, path: Path) -> None:
    found = set(imports(parse(path)))
    assert "." not in found, "relative imports hide where a name comes from"
    assert found & set(SOURCES) <= ALLOWED[package] | {package}


@pytest.mark.parametrize(("package", "path"), FILES)
def test_adapted_libraries_are_imported_when_they_are_asked_for(package: str, path: Path) -> None:
    adapters = {path.stem.removeprefix("_") for path in SOURCES["xattr_adapters"].glob("_*.py")}
    assert {"captum", "zennit", "shap"} < adapters
    found = set(imports(parse(path)))
    assert not found & (adapters | {"quantus"}), "they are imported through xattr_check.adapter.imported"


@pytest.mark.parametrize(("package", "path"), FILES)
def test_pytest_stays_out_of_the_library(package: str, path: Path) -> None:
    found = set(imports(module_level(parse(path))))
    if package == "pytest_xattr":
        assert not found & (set(SOURCES) - {"pytest_xattr"}), "the plugin imports the library in functions"
        assert "torch" not in found, "every pytest run of the environment would wait for torch"
    else:
        assert not found & {"pytest", "_pytest", "xdist", "hypothesis"}


@pytest.mark.parametrize(("package", "path"), ENGINE)
def test_the_engine_names_no_check(package: str, path: Path) -> None:
    """A branch on a name in the engine would be a list to edit for every new check."""
    names = {path.stem for path in SOURCES["xattr_axioms"].glob("[!_]*.py")}
    compared: set[str] = set()
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Compare):
            compared |= {
                child.value
                for child in ast.walk(node)
                if isinstance(child, ast.Constant) and isinstance(child.value, str)
            }
    assert not compared & names


@pytest.mark.parametrize(("package", "path"), JUDGES)
def test_no_bare_assert(package: str, path: Path) -> None:
    """`python -O` drops asserts; a verdict or an error carries a sentence."""
    assert not [node.lineno for node in ast.walk(parse(path)) if isinstance(node, ast.Assert)]


@pytest.mark.parametrize(("package", "path"), FILES)
def test_nothing_is_unpickled(package: str, path: Path) -> None:
    tree = parse(path)
    assert not set(imports(tree)) & {
        "pickle",
        "cPickle",
        "dill",
        "cloudpickle",
        "shelve",
        "marshal",
        "joblib",
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
            assert name not in ("yaml.load", "yaml.unsafe_load", "yaml.full_load", "eval", "exec"), name
            if name == "torch.load":
                assert keywords.get("weights_only") == "True"
            if name in ("np.load", "numpy.load"):
                assert keywords.get("allow_pickle", "False") == "False"
