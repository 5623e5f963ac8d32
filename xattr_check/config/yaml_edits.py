"""Changes in a YAML file that leave its comments, its order and its quotes as they are."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from xattr_check.config.yaml_nodes import compose, decode, entries, mistake_at, value
from xattr_check.errors import UsageError
from xattr_check.storage.files import write_bytes

# Columns of what is written, without its indentation.
WIDTH = 90
Patch = Mapping[str, Any]
# From where to where in a text, and what takes the place.
Splice = tuple[int, int, str]


class _Dumper(yaml.SafeDumper):
    """Mappings as lines, lists as [one, other], and long texts in several lines."""

    def list(self, data: Any) -> yaml.Node:
        return self.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)

    def text(self, data: str) -> yaml.Node:
        return self.represent_scalar("tag:yaml.org,2002:str", data, style=">" if len(data) > 60 else None)


_Dumper.add_representer(list, _Dumper.list)
_Dumper.add_representer(str, _Dumper.text)


def patch_file(path: Path, patch: Patch) -> None:
    """Apply a merge patch to a YAML file, which need not be there, whole or not at all.

    patch: mappings are merged into those of the file, None removes a name, all else takes the place of what
        there was, as in RFC 7386. What is not named keeps its text.

    Raises OSError, and UsageError for what is no YAML, or written so that a comment would be lost.
    """
    path = path.resolve()  # a link stays one
    if not path.exists():
        write_bytes(path, f"{_render(merged({}, patch))}\n".encode())
        return
    text, permissions = decode(path), path.stat().st_mode & 0o777
    new = patched(path, text.replace("\r\n", "\n"), patch)
    mark = b"\xef\xbb\xbf" if path.read_bytes().startswith(b"\xef\xbb\xbf") else b""
    write_bytes(path, mark + (new.replace("\n", "\r\n") if "\r\n" in text else new).encode())
    path.chmod(permissions)


def patched(path: Path, text: str, patch: Patch) -> str:
    """The text of a YAML file with a merge patch applied to it. Raises UsageError with the path."""
    if text and not text.endswith("\n"):
        text += "\n"
    node = compose(path, text)
    if node is None:
        return f"{text}{_render(merged({}, patch))}\n"
    wanted = merged(value(path, node), patch)
    splices = [
        (start, place, end, new) for place, (start, end, new) in enumerate(_splices(path, text, node, patch))
    ]
    # Of two at one place the first comes first, so that it is put in last.
    for start, _, end, new in sorted(splices, reverse=True):
        text = text[:start] + new + text[end:]
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        found = None
    if (found or {}) != wanted:
        # Whatever YAML may be written as that was not thought of: the file is not damaged.
        raise UsageError("written so that nothing can be put in", place=str(path), hint="write it as lines")
    return text


def merged(data: Any, patch: Patch) -> dict[str, Any]:
    """Plain data with a merge patch applied."""
    found = dict(data) if isinstance(data, dict) else {}
    for name, new in patch.items():
        if new is None:
            found.pop(name, None)
        else:
            found[name] = merged(found.get(name), new) if isinstance(new, Mapping) else new
    return found


def _splices(path: Path, text: str, node: yaml.Node, patch: Patch) -> Iterator[Splice]:
    """What changes in the text of a mapping."""
    pairs = {name: (key, child) for name, key, child in entries(path, node, "the file")}
    if node.flow_style:  # type: ignore[attr-defined]
        yield node.start_mark.index, node.end_mark.index, _flow(path, text, node, patch)
        return
    column = node.start_mark.column
    for name, (key, child) in pairs.items():
        if name not in patch:
            continue
        new, end = patch[name], _end(text, child)
        if new is None:
            # With the line break before it, since what is put in begins with one.
            first = text.rfind("\n", 0, key.start_mark.index)
            yield max(first, 0), _line_end(text, end) + (first < 0), ""
        elif not isinstance(new, Mapping):
            yield key.start_mark.index, end, _render({name: new}, column).lstrip()
        elif merged(value(path, child), new) == {}:
            yield key.end_mark.index, end, ": {}"
        elif isinstance(child, yaml.MappingNode) and child.value:
            yield from _splices(path, text, child, new)
        else:
            written = text[child.start_mark.index : end]
            if _has_comment(text[text.rfind("\n", 0, child.start_mark.index) + 1 : end]):
                raise mistake_at(path, child, "a comment would be lost", hint="write it as a mapping")
            if written:
                yield key.end_mark.index, end, ":"
            at = _line_end(text, end)
            yield at, at, f"\n{_render(merged({}, new), column + 2)}"
    added = {name: new for name, new in patch.items() if name not in pairs and new is not None}
    if added:
        at = _block_end(text, node)
        yield at, at, ("\n\n" if column == 0 else "\n") + _render(merged({}, added), column)


def _flow(path: Path, text: str, node: yaml.Node, patch: Patch) -> str:
    """The text of {name: value, …}, each that stays as it was written. Raises UsageError for comments."""
    if _has_comment(text[node.start_mark.index : node.end_mark.index]):
        raise mistake_at(path, node, "a comment inside {…} would be lost", hint="write it as lines")
    parts, there = [], set()
    for name, key, child in entries(path, node, "the file"):
        there.add(name)
        new = patch.get(name)
        if name not in patch:
            parts.append(text[key.start_mark.index : child.end_mark.index])
        elif new is not None:
            new = merged(value(path, child), new) if isinstance(new, Mapping) else new
            parts.append(f"{text[key.start_mark.index : key.end_mark.index]}: {_inline([new])[1:-1]}")
    added = merged({}, {name: new for name, new in patch.items() if name not in there})
    parts += [_inline({name: new})[1:-1] for name, new in added.items()]
    return f"{{{', '.join(parts)}}}"


def _has_comment(text: str) -> bool:
    """Whether a comment stands between the tokens of a text."""
    end = 0
    for token in yaml.scan(text):
        if "#" in text[end : token.start_mark.index]:
            return True
        end = token.end_mark.index
    return False


def _end(text: str, node: yaml.Node) -> int:
    """Where the text of a node ends, without the comments and blank lines after it."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        last = node.value[-1]
        return _end(text, last[1] if isinstance(last, tuple) else last)
    return len(text[: node.end_mark.index].rstrip())


def _line_end(text: str, index: int) -> int:
    """The end of the line in which an index is, with the comment there."""
    found = text.find("\n", index)
    return len(text) if found < 0 else found


def _block_end(text: str, node: yaml.Node) -> int:
    """The end of the last line of a mapping, with the comments below that are indented as it is."""
    at, column = _line_end(text, _end(text, node)), node.start_mark.column
    while column and (line := re.match(rf"\n {{{column},}}#[^\n]*", text[at:])):
        at += line.end()
    return at


def _render(data: Any, indent: int = 0) -> str:
    """Data as lines."""
    text = yaml.dump(data, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=WIDTH)
    return "\n".join(f"{' ' * indent}{line}" for line in text.splitlines())


def _inline(data: Any) -> str:
    """A list or a mapping on one line: what stands in one has other quotes than what stands alone."""
    text = yaml.safe_dump(
        data, sort_keys=False, allow_unicode=True, default_flow_style=True, width=float("inf")
    )
    return text.removesuffix("...\n").rstrip("\n")
