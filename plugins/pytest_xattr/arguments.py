"""The command line, as settings and node ids. Imports the library inside functions only."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any, TypeVar

import pytest

if TYPE_CHECKING:
    from xattr_check.config.settings import Settings

ROOT = "xattr"
# Options that name a file to be written.
FILES = ("json", "html", "markdown")
N = TypeVar("N", int, float)


def is_node_id(argument: str) -> bool:
    """Whether a command-line argument names items of a battery: `xattr::METHOD::CHECK` or `xattr::METHOD`.

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


def selects(node_ids: Iterable[str], node_id: str) -> bool:
    """Whether one of the node ids given is that of the item or of its method."""
    return any(node_id == given or node_id.startswith(f"{given}::") for given in node_ids)


def methods_of(node_ids: Iterable[str]) -> list[str]:
    """The specs in node ids, in order."""
    specs = [node_id.split("::")[1] for node_id in node_ids]
    return list(dict.fromkeys(specs))


def checks_of(node_ids: Iterable[str]) -> str | None:
    """The checks in node ids, where all name one: they are wanted whatever the budget.

    None where one names a method alone, or a check that there is not.
    """
    from xattr_check.core import registry

    checks = [node_id.partition("::")[2].partition("::")[2] for node_id in node_ids]
    known = registry.checks() if any(checks) else {}
    return ", ".join(checks) if all(check.partition("?")[0] in known for check in checks) else None


def settings(config: pytest.Config, node_ids: Iterable[str]) -> "Settings":
    """What xattr.yaml and the command line say; the command line wins. Raises xattr_check's UsageError.

    Where neither names a method, the node ids do; where neither names a check, those with parameters too.
    """
    from xattr_check.config.modules import add_to_path
    from xattr_check.config.settings import Settings
    from xattr_check.config.xattr_yaml import read
    from xattr_check.config.yaml_nodes import NAME

    given = config.getoption("xattr_gates")
    path = config.invocation_params.dir / given if given is not None else config.rootpath / NAME
    found = read(path) if given is not None or path.exists() else Settings()
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
            *("subject", "model", "data", "checks", "budget", "device", "strict"),
            *("save", "autosave", "compare", "compare_fail"),
        )
    }
    for key in ("storage", *FILES):
        options[key] = _under(config.invocation_params.dir, config.getoption(f"xattr_{key}"))
    found = found.override(
        methods=config.getoption("xattr_method"),
        seed=_number(config, "seed", int, "a whole number"),
        timeout=_number(config, "timeout", float, "seconds"),
        memory=_number(config, "memory", int, "a whole number of MiB"),
        **options,
    )
    if found.checks is None:
        found = found.override(checks=checks_of(node_ids))
    # What a file names does not keep an item from being asked for.
    others = [spec for spec in methods_of(node_ids) if spec not in found.methods]
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
