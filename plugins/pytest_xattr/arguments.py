"""The command line, as settings and node ids. Imports the library inside functions only."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from xattr_check.battery.battery import Case
    from xattr_check.config.settings import Settings

ROOT = "xattr"
# Options that name a file to be written.
FILES = ("json", "html", "markdown")
N = TypeVar("N", int, float)


def is_node_id(argument: str) -> bool:
    """Whether a command-line argument names items of a battery, see `NodeId`.

    In a subfolder pytest prints `../xattr::…`; that is understood as well.
    """
    head, colons, tail = argument.partition("::")
    return bool(colons and tail) and PurePath(head).name == ROOT


def take_node_ids(config: pytest.Config) -> list[str]:
    """Take the battery's node ids out of pytest's arguments; leave the paths of the user's own tests.

    Without such paths, pytest collects nothing of its own: neither `testpaths` nor the working directory.
    """
    found = [f"{ROOT}::{arg.partition('::')[2]}" for arg in config.args if is_node_id(arg)]
    paths = [arg for arg in config.args if not is_node_id(arg)]
    named = config.args_source == pytest.Config.ArgsSource.ARGS
    config.args = paths if named else []
    config.args_source = pytest.Config.ArgsSource.ARGS
    return found


@dataclass(frozen=True)
class NodeId:
    """A node id on the command line: `xattr::METHOD::CHECK` or `xattr::SUBJECT::METHOD::CHECK`.

    The check may be left out, and all but the subject. What is not named is an empty string.
    """

    text: str
    subject: str
    method: str
    check: str

    @classmethod
    def read(cls, text: str, subjects: Collection[str]) -> "NodeId":
        """The node id of a text; subjects: what else a name alone may mean than a method."""
        names = text.split("::")[1:]
        if len(names) == 1:
            is_subject = names[0] in subjects or not _is_spec(names[0])
            return cls(text, *((names[0], "", "") if is_subject else ("", names[0], "")))
        if len(names) == 2 and not _is_spec(names[1]):
            return cls(text, "", *names)
        return cls(text, names[0], names[1], "::".join(names[2:]))

    def selects(self, case: "Case") -> bool:
        """Whether it names a case, or what the case is one of."""
        pairs = (
            (self.subject, case.subject.label),
            (self.method, case.method.name),
            (self.check, case.check.name),
        )
        return all(given in ("", own) for given, own in pairs)


def _is_spec(name: str) -> bool:
    """Whether a name in a node id is the spec of a method and not that of a check: those have no colon."""
    return ":" in name.partition("?")[0]


def read_node_ids(texts: Sequence[str], found: "Settings") -> list[NodeId]:
    """The node ids of texts, beside the settings of their run or of a file for it."""
    return [NodeId.read(text, {*found.subjects, *found.by_subject}) for text in texts]


def checks_of(node_ids: Sequence[NodeId]) -> str | None:
    """The checks in node ids, where all name one: they are wanted whatever the budget.

    None where one names none, or a check that there is not.
    """
    from xattr_check.core import registry

    checks = [node_id.check for node_id in node_ids]
    known = registry.checks() if any(checks) else {}
    return (
        ", ".join(dict.fromkeys(checks))
        if all(check.partition("?")[0] in known for check in checks)
        else None
    )


def _subjects_of(node_ids: Sequence[NodeId], found: "Settings") -> list[str] | None:
    """The subjects that are needed where all node ids name one; None for those of the settings.

    What a file or an option names does not keep an item from being asked for, nor is what is not asked for
    loaded.
    """
    named = list(dict.fromkeys(node_id.subject for node_id in node_ids))
    return None if "" in named or not named or found.model is not None else named


def settings_file(config: pytest.Config) -> Path:
    """The file of settings that is named, or that of the root directory, which need not be there."""
    from xattr_check.config.yaml_nodes import NAME

    given = config.getoption("xattr_gates")
    return config.invocation_params.dir / given if given is not None else config.rootpath / NAME


def settings(config: pytest.Config, texts: Sequence[str]) -> "Settings":
    """What xattr.yaml and the command line say; the command line wins. Raises xattr_check's UsageError.

    texts: node ids. Where neither names a method, or a subject, they do; where neither names a check, those
    with parameters too.
    """
    from xattr_check.config.modules import add_to_path
    from xattr_check.config.settings import Settings, any_of
    from xattr_check.config.xattr_yaml import read

    path = settings_file(config)
    # One that is named has to be there, but where failures are to be written into it.
    has_to_be = config.getoption("xattr_gates") is not None and config.getoption("xattr_accept") is None
    found = read(path) if has_to_be or path.exists() else Settings()
    if found.methods:
        add_to_path(path.parent)  # wherever pytest is started, what the file names is beside it
    # Folders and files are meant from where they are written: the file's root, or the shell's folder.
    found = replace(
        found,
        storage=str(config.rootpath / found.storage),
        json=_under(config.rootpath, found.json),
        html=_under(config.rootpath, found.html),
        markdown=_under(config.rootpath, found.markdown),
    )
    options: dict[str, Any] = {
        key: config.getoption(f"xattr_{key}")
        for key in (
            *("model", "data", "budget", "device", "strict"),
            *("save", "autosave", "compare", "compare_fail"),
        )
    }
    for key in ("storage", *FILES):
        options[key] = _under(config.invocation_params.dir, config.getoption(f"xattr_{key}"))
    found = found.override(
        methods=config.getoption("xattr_method"),
        subjects=config.getoption("xattr_subject"),
        checks=any_of(config.getoption("xattr_checks")),
        seed=_number(config, "seed", int, "a whole number"),
        timeout=_number(config, "timeout", float, "seconds"),
        memory=_number(config, "memory", int, "a whole number of MiB"),
        **options,
    )
    node_ids = read_node_ids(texts, found)
    found = found.override(subjects=_subjects_of(node_ids, found))
    if found.checks is None:
        found = found.override(checks=checks_of(node_ids))
    # What a file names does not keep an item from being asked for.
    named = dict.fromkeys(node_id.method for node_id in node_ids if node_id.method)
    others = [spec for spec in named if spec not in found.methods]
    if others and config.getoption("xattr_method") is None:
        found = found.override(methods=[*found.methods, *others])
    return found


def _under(folder: Path, file: str | None) -> str | None:
    return None if file is None else str(folder / file)


def _number(config: pytest.Config, name: str, kind: Callable[[str], N], wanted: str) -> N | None:
    from xattr_check.errors import UsageError

    text = config.getoption(f"xattr_{name}")
    try:
        return None if text is None else kind(text)
    except ValueError:
        expected = f"{wanted}, for example 10"
        raise UsageError(option=f"--xattr-{name}", value=text, expected=expected) from None
