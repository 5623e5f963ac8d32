"""The battery without pytest's command line: as an object, a function, and a decorator for a test."""

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from xattr_check.battery.battery import Battery
from xattr_check.config.settings import Settings
from xattr_check.core.checks import Axiom
from xattr_check.core.method import Method
from xattr_check.core.subject import Subject
from xattr_check.core.verdict import Verdict
from xattr_check.history.document import document
from xattr_check.report import table
from xattr_check.storage.files import write_bytes


class Results(list[Verdict]):
    """The verdicts of a battery, in its order; printed as the table.

    run: where they come from, as `history.document` has it.
    """

    def __init__(self, verdicts: Iterable[Verdict] = (), run: Mapping[str, Any] | None = None) -> None:
        super().__init__(verdicts)
        self.run = dict(run or {})

    def __str__(self) -> str:
        return table.table(self)

    @property
    def failed(self) -> "Results":
        """Those on which a gate must close."""
        return Results((verdict for verdict in self if verdict.failed), self.run)

    def save_pictures(self, folder: str | Path) -> list[Path]:
        """Write the pictures there are to FOLDER/METHOD/CHECK.png, under names that any system takes.

        Those of an earlier run are replaced, or removed where a verdict has none now. Raises OSError where
        the folder cannot be written, ValueError where the evidence has another shape than it should.
        """
        from xattr_check.report import pictures

        saved = [pictures.save(verdict, Path(folder)) for verdict in self]
        return [path for path in saved if path is not None]

    def save_report(self, file: str | Path) -> Path:
        """Write the report, a single HTML file; its path. Raises OSError where it cannot be written."""
        from xattr_check.report import page as report
        from xattr_check.report import pictures

        with TemporaryDirectory() as folder:
            drawn = {(one.method, one.check): pictures.save(one, Path(folder)) for one in self}
            found = {key: path for key, path in drawn.items() if path is not None}
            page = report.render([report.ReportedRun("this run", self.run, self, found)])
        write_bytes(Path(file), page.encode())
        return Path(file).resolve()

    def __getitem__(self, key: Any) -> Any:
        """A verdict by position, by the name of its check, or by (method, check) where there are several."""
        if isinstance(key, str | tuple):
            wanted = key if isinstance(key, str) else tuple(key)
            found = [v for v in self if wanted in (v.check, (v.method, v.check))]
            if len(found) != 1:
                raise KeyError(f"{key!r}: {len(found)} verdicts of that name")
            return found[0]
        found_here = super().__getitem__(key)
        return Results(found_here, self.run) if isinstance(key, slice) else found_here


def run_battery(
    methods: Any,
    subject: str | Subject | Callable[[], Subject] | None = None,
    *,
    checks: str | None = None,
    budget: str | None = None,
    seed: int | None = None,
    device: str | None = None,
    storage: str | Path | None = None,
    timeout: float | None = None,
    settings: Settings | None = None,
) -> Results:
    """Judge one method or several on a subject, `digits` by default.

    methods: a function explain(model, inputs, targets), a spec such as `xattr:gradient`, or a list of them.
    checks: an expression over names and families, as for --xattr-checks; by default all of the budget.
    budget: `quick` by default. timeout: seconds that one call of a method may take.
    storage: the folder that holds what runs share.
    settings: gates, claims and expected failures, as in xattr.yaml; the other arguments win.

    Raises UsageError for what cannot be resolved. Methods that fail or raise give verdicts, not exceptions.
    """
    chosen = (settings or Settings()).override(
        checks=checks,
        budget=budget,
        seed=seed,
        device=device,
        storage=None if storage is None else str(storage),
        timeout=timeout,
    )
    battery = Battery(chosen, methods if isinstance(methods, list | tuple) else [methods], subject)
    started = datetime.now(UTC)
    found = [battery.judge(method, check) for method, check in battery.pairs]
    device_name, sources = str(battery.run.device), battery.sources
    return Results(found, document(chosen, device_name, started, (), Path(), sources=sources)["run"])


def parametrize_with_checks(
    *methods: Any, subject: str | Subject | Callable[[], Subject] | None = None, **options: Any
) -> Callable[[Callable[..., Any]], Any]:
    """Parametrise a test with a battery: `def test_explain(check): check()`.

    Each `check` runs one check of one method when called, returns its Verdict, and fails or skips the test
    by it. Options are those of `run_battery`. The subject is loaded when the first check runs.
    """
    import pytest

    if options.get("storage") is not None:
        options["storage"] = str(options["storage"])
    settings = (options.pop("settings", None) or Settings()).override(**options)
    battery = Battery(settings, methods, subject)

    def bound(method: Method, check: Axiom) -> Callable[[], Verdict]:
        def judge() -> Verdict:
            verdict = battery.judge(method, check)
            if verdict.failed:
                pytest.fail("\n\n".join(filter(None, (str(verdict), verdict.trace))), pytrace=False)
            if verdict.status == "xfail":
                pytest.xfail(str(verdict))
            if verdict.status not in ("pass", "fail"):
                pytest.skip(str(verdict))
            return verdict

        judge.__name__ = check.name
        return judge

    return pytest.mark.parametrize(
        "check",
        [bound(method, check) for method, check in battery.pairs],
        ids=[f"{method.name}::{check.name}" for method, check in battery.pairs],
    )
