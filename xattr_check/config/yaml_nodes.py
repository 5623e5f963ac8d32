"""YAML with its lines, so that a mistake is told where it stands."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from xattr_check.errors import UsageError

# The file of settings that is looked for in a folder.
NAME = "xattr.yaml"


def place(path: Path, node: yaml.Node) -> str:
    """Where a node stands, as compilers write it: FILE:LINE."""
    return f"{path}:{node.start_mark.line + 1}"


def mistake_at(path: Path, node: yaml.Node, what: str = "", **fields: str) -> UsageError:
    """A UsageError of these fields, about a node and told with its line."""
    return UsageError(what, place=place(path, node), **fields)


def decode(path: Path) -> str:
    """The text of a file. Raises OSError, and UsageError for what is not UTF-8."""
    content = path.read_bytes()
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        problem = f"not UTF-8: byte 0x{content[error.start]:02x}"
        raise UsageError(problem, place=f"{path}:{line}", hint="save the file as UTF-8") from None


def compose(path: Path, text: str | None = None) -> yaml.Node | None:
    """The document of a file, or of its text where that is given, None where it is empty.

    Raises OSError, and UsageError for what is not YAML.
    """
    text = decode(path) if text is None else text
    try:
        node: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        mark, position = getattr(error, "problem_mark", None), getattr(error, "position", None)
        line = mark.line + 1 if mark is not None else text[:position].count("\n") + 1
        problem = str(getattr(error, "problem", None) or getattr(error, "reason", error))
        if "'\\t'" in problem:
            problem = "a tab where YAML takes spaces alone"
        raise UsageError(f"not YAML: {problem}", place=f"{path}:{line}") from None
    return node


def entries(path: Path, node: yaml.Node, what: str) -> Iterator[tuple[str, yaml.Node, yaml.Node]]:
    """Names of a mapping, each with its own node and that of its value. Raises UsageError.

    A name that stands there twice is a mistake: YAML would take the last one in silence.
    """
    if not isinstance(node, yaml.MappingNode):
        expected = f"{what} to be a mapping, name: value"
        raise mistake_at(path, node, expected=expected, came=render(path, node))
    lines: dict[str, int] = {}
    for key, value in node.value:
        if not isinstance(key, yaml.ScalarNode):
            raise mistake_at(path, key, expected=f"a name in {what}", came=render(path, key))
        if key.value in lines:
            raise mistake_at(
                path,
                key,
                f"{key.value!r} stands in {what} twice, for the first time in line {lines[key.value]}",
            )
        lines[key.value] = key.start_mark.line + 1
        yield key.value, key, value


def value(path: Path, node: yaml.Node) -> Any:
    """What a node says, of YAML's plain types. Raises UsageError."""
    try:
        return yaml.SafeLoader("").construct_document(node)
    except yaml.YAMLError as error:
        raise mistake_at(path, node, str(getattr(error, "problem", error))) from None


def render(path: Path, node: yaml.Node) -> str:
    """What a node says, for a message: no more than a line of it, and nothing of what is nested."""
    if isinstance(node, yaml.ScalarNode):
        return f"{value(path, node)!r:.60}"
    return "a list" if isinstance(node, yaml.SequenceNode) else "a mapping"
