"""One method against one check, as the tests of checks ask for it."""

import os
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xattr_check import Axiom, Subject, Verdict, checks, load_method
from xattr_check.battery.battery import Beside, item
from xattr_check.battery.item import Item
from xattr_check.config.selection import select
from xattr_check.config.settings import Settings
from xattr_check.core import registry
from xattr_check.core.checks import Measurement
from xattr_check.core.explainer import Explainer
from xattr_check.core.method import Method
from xattr_check.core.run import Draw, Run


def shared_folder(tmp_path_factory: pytest.TempPathFactory, name: str = "digits") -> Path:
    """A folder of that name for all workers; `digits` has what is measured there of controls and methods."""
    base = tmp_path_factory.getbasetemp()
    folder: Path = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name
    folder.mkdir(exist_ok=True)
    return folder


def item_of(
    method: Any,
    check: str | Axiom,
    subject: Subject,
    *,
    known: Mapping[str, Axiom] | None = None,
    controls: Mapping[str, Method] | None = None,
    **options: Any,
) -> Item:
    """The item of a spec or a function and of a check, by name, with parameters or not, or as it is.

    known, controls: checks and controls that stand in for those that are installed. options: of an `Item`.
    """
    found = checks() if known is None else known
    beside = Beside(found, registry.methods() if controls is None else controls)
    chosen = check_of(check, found)
    return replace(item(Settings(), load_method(method), chosen, subject, beside), **options)


def check_of(check: str | Axiom, known: Mapping[str, Axiom] | None = None) -> Axiom:
    """The check of a name as `deletion` or `deletion?fill=blur`, whatever it costs."""
    if not isinstance(check, str):
        return check
    known = checks() if known is None else known
    return known[check] if check in known else select(check, known, "full")[0]


def judge(check: str | Axiom, method: Any, subject: Subject, run: Run, **options: Any) -> Verdict:
    """The verdict of a check on a method. options: of `item_of`."""
    return item_of(method, check, subject, **options).judge(run)


def measured(check: str | Axiom, method: Any, subject: Subject, run: Run) -> tuple[Measurement, Draw]:
    """The first draw of a run, and what the check measures on it; both of the subject that it judges on."""
    chosen = check_of(check)
    given = subject if chosen.on is None else chosen.on(subject, run)
    draw = next(run.draws(chosen.name, given, chosen.inputs))
    return chosen(Explainer.of(load_method(method), given, run), given, draw), draw


def seeds() -> list[object]:
    """Seed 0 among the fast tests, 1 to 4 among the slow ones."""
    return [pytest.param(seed, marks=[pytest.mark.slow] if seed else []) for seed in range(5)]


def each(*names: str, slow: Collection[str] = ()) -> list[object]:
    """Each name with each seed; those of slow are slow with seed 0 as well."""
    return [
        pytest.param(
            name, seed, marks=[pytest.mark.slow] if seed or name in slow else [], id=f"{name}-{seed}"
        )
        for name in names
        for seed in range(5)
    ]
