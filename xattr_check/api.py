"""The battery without pytest's command line: as an object, a function, and a decorator for a test."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from xattr_check.battery.battery import Battery, Case
from xattr_check.config.settings import Settings
from xattr_check.core.subject import Subject
from xattr_check.core.verdict import Verdict
from xattr_check.errors import UsageError
from xattr_check.history.document import document
from xattr_check.report import table
from xattr_check.storage.digest import safe_name
from xattr_check.storage.files import write_bytes

# What names a subject, makes it, or is it.
Given = str | Subject | Callable[[], Subject]


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

        Of several subjects, each has a folder of its own in FOLDER. Those of an earlier run are replaced, or
        removed where a verdict has none now. Raises OSError where the folder cannot be written, ValueError
        where the evidence has another shape than it should.
        """
        from xattr_check.report import pictures

        several = len({verdict.subject for verdict in self}) > 1
        saved = [
            pictures.save(one, Path(folder) / safe_name(one.subject) if several else Path(folder))
            for one in self
        ]
        return [path for path in saved if path is not None]

    def save_report(self, file: str | Path) -> Path:
        """Write the report, a single HTML file; its path. Raises OSError where it cannot be written."""
        from xattr_check.report import page as report
        from xattr_check.report import pictures

        with TemporaryDirectory() as folder:
            drawn = {one.key: pictures.save(one, Path(folder) / safe_name(one.subject)) for one in self}
            found = {key: path for key, path in drawn.items() if path is not None}
            page = report.render([report.ReportedRun("this run", self.run, self, found)])
        write_bytes(Path(file), page.encode())
        return Path(file).resolve()

    def __getitem__(self, key: Any) -> Any:
        """A verdict by position, or by names.

        The name of its check; where there are several, (method, check) or (subject, method, check).
        """
        if isinstance(key, str | tuple):
            wanted = key if isinstance(key, str) else tuple(key)
            found = [
                v for v in self if wanted in (v.check, (v.method, v.check), (v.subject, v.method, v.check))
            ]
            if len(found) != 1:
                raise KeyError(f"{key!r}: {len(found)} verdicts of that name")
            return found[0]
        found_here = super().__getitem__(key)
        return Results(found_here, self.run) if isinstance(key, slice) else found_here


def run_battery(
    methods: Any,
    subject: Given | None = None,
    *,
    subjects: Sequence[Given] = (),
    checks: str | None = None,
    budget: str | None = None,
    seed: int | None = None,
    device: str | None = None,
    storage: str | Path | None = None,
    timeout: float | None = None,
    settings: Settings | None = None,
) -> Results:
    """Judge one method or several on a subject, `digits` by default, or on several in its place.

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
    given = methods if isinstance(methods, list | tuple) else [methods]
    battery = Battery(chosen, given, _choose(subject, subjects))
    started = datetime.now(UTC)
    if battery.is_on_several:
        battery.prepare()
    found = list(battery.judge_all())
    device_name, sources = str(battery.run.device), battery.sources
    labels = {one.name: one.label for one in battery.subjects}
    run = document(chosen, device_name, started, (), Path(), sources=sources, subjects=labels)["run"]
    return Results(found, run)


def _choose(subject: Given | None, subjects: Sequence[Given]) -> Sequence[Given]:
    """The subjects that were given, none for those of the settings. Raises UsageError."""
    if isinstance(subjects, str) or not isinstance(subjects, Sequence):
        raise UsageError(option="subjects", expected="a list of subjects", came=type(subjects).__name__)
    if subject is not None and subjects:
        raise UsageError(option="subjects", expected="either subject or subjects", came="both")
    return subjects if subject is None else [subject]


def parametrize_with_checks(
    *methods: Any, subject: Given | None = None, subjects: Sequence[Given] = (), **options: Any
) -> Callable[[Callable[..., Any]], Any]:
    """Parametrise a test with a battery: `def test_explain(check): check()`.

    Each `check` runs one check of one method on one subject when called, returns its Verdict, and fails or
    skips the test by it. Options are those of `run_battery`. A subject is loaded when its first check runs.
    """
    import pytest

    if options.get("storage") is not None:
        options["storage"] = str(options["storage"])
    settings = (options.pop("settings", None) or Settings()).override(**options)
    battery = Battery(settings, methods, _choose(subject, subjects))

    def bound(case: Case) -> Callable[[], Verdict]:
        def judge() -> Verdict:
            verdict = battery.judge(case)
            if verdict.failed:
                pytest.fail("\n\n".join(filter(None, (str(verdict), verdict.trace))), pytrace=False)
            if verdict.status == "xfail":
                pytest.xfail(str(verdict))
            if verdict.status not in ("pass", "fail"):
                pytest.skip(str(verdict))
            return verdict

        judge.__name__ = case.check.name
        return judge

    return pytest.mark.parametrize(
        "check",
        [bound(case) for case in battery.cases],
        ids=[battery.id_of(case) for case in battery.cases],
    )
