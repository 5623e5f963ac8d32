"""The battery without pytest's command line: as a function, and as a decorator for a test."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from xattr_check import registry, table
from xattr_check.battery import Item
from xattr_check.config import Settings, items
from xattr_check.run import Progress, Run, resolve_device, silent
from xattr_check.select import select
from xattr_check.specs import load_methods, load_subject
from xattr_check.store import Store
from xattr_check.subject import Subject
from xattr_check.verdict import Verdict


class Results(list[Verdict]):
    """The verdicts of a battery, in its order; printed as the table."""

    def __str__(self) -> str:
        return table.table(self)

    @property
    def failed(self) -> "Results":
        """Those on which a gate must close."""
        return Results(verdict for verdict in self if verdict.failed)

    def __getitem__(self, key: Any) -> Any:
        """A verdict by position, or by the name of its check."""
        if isinstance(key, str):
            found = [verdict for verdict in self if verdict.check == key]
            if len(found) != 1:
                raise KeyError(f"{key!r}: {len(found)} verdicts of that name")
            return found[0]
        return super().__getitem__(key)


def prepare(
    settings: Settings, methods: Sequence[Any], subject: Any, progress: Progress = silent
) -> tuple[list[Item], Run]:
    """The items of a battery, and the run that they share. Raises UsageError."""
    found = load_methods(methods)
    known = registry.checks()
    chosen = select(settings.checks, known, settings.budget)  # type: ignore[arg-type]
    device = resolve_device(settings.device)
    run = Run(
        store=Store(Path(settings.storage) / "store"),
        seed=settings.seed,
        budget=settings.budget,  # type: ignore[arg-type]
        device=device,
        timeout=settings.timeout,
        progress=progress,
    )
    # Methods first: a typing mistake in a spec is told before a large model is loaded.
    empty = items(settings, found, chosen, known, None)  # type: ignore[arg-type]
    progress(f"loading subject {subject if isinstance(subject, str) else ''}")
    loaded = load_subject(subject).to(device)
    return [replace(item, subject=loaded) for item in empty], run


def run_battery(
    methods: Any,
    subject: str | Subject | Callable[[], Subject] = "digits",
    *,
    checks: str | None = None,
    budget: str = "quick",
    seed: int = 0,
    device: str = "auto",
    storage: str | Path = ".xattr",
    timeout: float = 300.0,
    settings: Settings | None = None,
) -> Results:
    """Judge one method or several on a subject.

    methods: a function explain(model, inputs, targets), a spec such as `xattr:gradient`, or a list of them.
    checks: an expression over names and families, as for --xattr-checks; all by default.
    storage: the folder that holds what runs share.
    settings: gates, claims and expected failures, as in xattr.yaml; the other arguments win.

    Raises UsageError for what cannot be resolved. Methods that fail or raise give verdicts, not exceptions.
    """
    chosen = (settings or Settings()).overridden(
        checks=checks, budget=budget, seed=seed, device=device, storage=str(storage), timeout=timeout
    )
    battery, run = prepare(chosen, methods if isinstance(methods, list | tuple) else [methods], subject)
    return Results(item.judge(run) for item in battery)


def parametrize_with_checks(
    *methods: Any, subject: str | Subject | Callable[[], Subject] = "digits", **options: Any
) -> Callable[[Callable[..., Any]], Any]:
    """Parametrise a test with a battery: `def test_explain(check): check()`.

    Each `check` runs one check of one method when called, returns its Verdict, and fails or skips the test
    by it. Options are those of `run_battery`. The subject is loaded when the first check runs.
    """
    import pytest

    storage = options.pop("storage", ".xattr")
    settings = (options.pop("settings", None) or Settings()).overridden(storage=str(storage), **options)
    known = registry.checks()
    found = load_methods(methods)

    @cache
    def loaded() -> tuple[dict[str, Item], Run]:
        battery, run = prepare(settings, found, subject)
        return {f"{item.method.name}::{item.check.name}": item for item in battery}, run

    def bound(name: str) -> Callable[[], Verdict]:
        def check() -> Verdict:
            battery, run = loaded()
            verdict = battery[name].judge(run)
            if verdict.failed:
                pytest.fail(verdict.sentence, pytrace=False)
            if verdict.status not in ("pass", "fail"):
                pytest.skip(verdict.sentence)
            return verdict

        check.__name__ = name
        return check

    names = [
        f"{method.name}::{check.name}"
        for method in found
        for check in select(settings.checks, known, settings.budget)  # type: ignore[arg-type]
    ]
    return pytest.mark.parametrize("check", [bound(name) for name in names], ids=names)
