"""What a project is carried on with: forms, hooks, fragments, the site's navigation."""

import re
import tomllib
from pathlib import Path

import yaml

from xattr_check import checks

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_issue_forms_have_what_a_form_needs() -> None:
    wrong = []
    for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml"):
        form = yaml.safe_load(path.read_text())
        if path.stem == "config":
            continue
        fields = [field for field in form["body"] if field["type"] != "markdown"]
        complete = all(field["attributes"]["label"] for field in fields)
        unique = len({field["id"] for field in fields}) == len(fields)
        if not (form["name"] and form["description"] and complete and unique):
            wrong.append(path.name)
    assert wrong == []


def test_hooks_run_the_linters_that_make_lint_runs() -> None:
    hooks = [
        hook
        for repository in yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]
        for hook in repository["hooks"]
    ]
    assert {"ruff", "ruff-format", "mypy", "end-of-file-fixer", "trailing-whitespace"} <= {
        hook["id"] for hook in hooks
    }
    lint = (ROOT / "Makefile").read_text().partition("\nlint:")[2].partition("\n\n")[0]
    tools = {Path(hook["entry"].split()[0]).name for hook in hooks if "entry" in hook}
    assert tools == set(re.findall(r"\$\(BIN\)/(\w+)", lint))


def test_fragments_are_of_a_kind_that_there_is() -> None:
    kinds = {one["directory"] for one in PROJECT["tool"]["towncrier"]["type"]}
    folder = ROOT / PROJECT["tool"]["towncrier"]["directory"]
    wrong = [
        path.name
        for path in folder.iterdir()
        if path.name != "README.md"
        and not re.fullmatch(rf"(\d+|\+[\w-]+)\.({'|'.join(kinds)})\.md", path.name)
    ]
    assert wrong == []
    assert PROJECT["tool"]["towncrier"]["start_string"] in (ROOT / "CHANGELOG.md").read_text()


def test_what_is_cited_is_in_the_bibliography() -> None:
    """Keys in docstrings and pages, `[he2016]`, and those that checks give as their source."""
    known = set(re.findall(r"^@\w+\{(\w+),", (ROOT / "docs" / "references.bib").read_text(), re.M))
    folders = ("xattr_check", "axioms", "plugins", "fixtures", "docs", "benchmarks", "experiments")
    files = [
        path
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.suffix in (".py", ".md") and "site" not in path.parts
    ]
    key_in_brackets = re.compile(r"\[([a-z]+\d{4}[a-z]?)\]")
    cited = {(key, path.name) for path in files for key in key_in_brackets.findall(path.read_text())}
    for name, check in checks().items():
        cited |= {(key, name) for key in re.findall(r"[a-z]+\d{4}[a-z]?", check.cites)}
    assert sorted((key, place) for key, place in cited if key not in known) == []


def test_the_citation_is_of_this_project() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["title"] == PROJECT["project"]["name"]
    assert citation["version"] == PROJECT["project"]["version"]
    assert citation["license"] == PROJECT["project"]["license"]


def test_every_page_is_in_the_navigation_of_the_site() -> None:
    site = yaml.safe_load((ROOT / "mkdocs.yml").read_text())
    listed = [
        page for part in site["nav"] for pages in part.values() for one in pages for page in one.values()
    ]
    assert sorted(listed) == sorted(set(listed))
    assert {path.name for path in (ROOT / "docs").glob("*.md")} <= set(listed)
