"""A battery in a pytest session: resolved at the start, judged item by item, reported at the end."""

import gc
import warnings
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from pytest_xattr import acceptance, arguments, comparison, summary
from pytest_xattr.items import BatteryNode, CheckItem, FailureText
from pytest_xattr.progress import Progress

if TYPE_CHECKING:
    from xattr_check.battery.battery import Case
    from xattr_check.core.verdict import Key, Verdict


@contextmanager
def usage_errors() -> Iterator[None]:
    """Let pytest tell the library's usage errors: one sentence, exit code 4."""
    from xattr_check.errors import UsageError

    try:
        yield
    except UsageError as error:
        raise pytest.UsageError(str(error)) from None


class BatterySession:
    """Hooks of a session that has a battery; registered only then.

    Under xdist the controller resolves everything first, so that a mistake is told once; the workers resolve
    the same command line again and send their verdicts as records on the reports.
    """

    def __init__(self, config: pytest.Config) -> None:
        from xattr_check.battery.battery import Battery

        self.config = config
        self.is_worker = hasattr(config, "workerinput")
        self.started = datetime.now(UTC)
        self.progress = Progress(config)
        self.records: dict[str, dict[str, Any]] = {}
        self._traces: set[str] = set()
        self._pictures: dict[Key, Path] = {}
        self.saved: Path | None = None
        self._save_fault = ""
        self._unread: list[str] = []
        self._chosen: set[str] | None = None
        self._picture_faults: list[str] = []
        # Whether the cases of each subject come one after the other.
        self._is_in_turns = True
        with usage_errors():
            texts = arguments.take_node_ids(config)
            settings = arguments.settings(config, texts)
            self.node_ids = arguments.read_node_ids(texts, settings)
            self._alone = not config.args
            self.battery = Battery(
                for_worker(config, settings),
                settings.methods,
                progress=self.progress,
                warn=self.progress.warn,
            )
            # A node id that names its subject is that of its item.
            self.tells_subjects = self.battery.is_on_several or any(one.subject for one in self.node_ids)
            self.order = {self._node_id(case): case for case in self.battery.cases}
            self._check_node_ids()
            _ = self.battery.run  # an unwritable store or a missing device is told now
            for name in arguments.FILES:
                file = getattr(settings, name)
                if file is not None and not self.is_worker:
                    from xattr_check.storage.files import check_writable

                    check_writable(Path(file), f"--xattr-{name}")
            if settings.saves and not self.is_worker:
                from xattr_check.history import saved as history

                history.check_storage(Path(settings.storage))
            self.comparison = None if self.is_worker else comparison.prepare(config, settings, self.battery)
            self.accepting = acceptance.prepare(config, self.battery)

    def _node_id(self, case: "Case") -> str:
        names = [case.subject.label] if self.tells_subjects else []
        return "::".join([arguments.ROOT, *names, case.method.name, case.check.name])

    def _check_node_ids(self) -> None:
        from xattr_check.errors import UsageError
        from xattr_check.wording import nearest

        for given in self.node_ids:
            if not any(map(given.selects, self.battery.cases)):
                raise UsageError(f"not found: {given.text}", hint=nearest(given.text, self.order))

    def pytest_report_header(self) -> list[str]:
        """What is judged, on what and how surely."""
        from xattr_check.statistics.intervals import ERROR_RATE

        battery, settings = self.battery, self.battery.settings
        names = [method.name for method in battery.methods]
        shown = ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:3])} and {len(names) - 3} more"
        count, on = len(battery.checks), ", ".join(subject.label for subject in battery.subjects)
        return [
            f"xattr: {shown} on {on}, {count} check{'s' if count != 1 else ''}",
            f"xattr: budget {settings.budget}, seed {settings.seed}, device {battery.run.device}, "
            f"error rate {ERROR_RATE:g} per verdict",
        ]

    def pytest_sessionstart(self) -> None:
        """Load what is judged on before anything is judged, so that its mistakes are usage errors.

        One subject alone, and of several those that no package vouches for: the others may wait for their
        turn. An xdist controller judges nothing: it loads no more than that, and lets it go.
        """
        # What is imported by now stays: the collector need not walk through all of torch again and again.
        gc.freeze()
        if self.is_worker or self.config.option.collectonly:
            return
        controls_workers = self.config.pluginmanager.has_plugin("dsession")
        first = self.battery.subjects[0]
        with usage_errors():
            self.battery.prepare()
            if not (self.battery.is_on_several or (controls_workers and first.is_installed)):
                self.battery.load(first)
        if controls_workers:
            for subject in self.battery.subjects:
                subject.release()

    @pytest.hookimpl(tryfirst=True)
    def pytest_collection_modifyitems(self, session: pytest.Session, items: list[pytest.Item]) -> None:
        """Put the battery after the user's own tests, before -k, --lf and the like choose."""
        node = BatteryNode.of(session, self.battery, tells_subjects=self.tells_subjects)
        found = [item for item in session.genitems(node) if isinstance(item, CheckItem)]
        if self.node_ids:
            found = [item for item in found if any(one.selects(item.case) for one in self.node_ids)]
        if self.accepting is not None:
            for item in found:
                item.acceptance = self.accepting.acceptance
        items.extend(found)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        """Send the record with the report, to whichever process prints it."""
        report = yield
        if isinstance(item, CheckItem) and call.when == "call":
            verdict = item.verdict
            if verdict is not None:
                report.xattr_record, report.xattr_trace = verdict.record(), verdict.trace  # type: ignore[attr-defined]
                report.xattr_picture = None if item.picture is None else str(item.picture)  # type: ignore[attr-defined]
                report.xattr_picture_fault = item.picture_fault  # type: ignore[attr-defined]
                accepted = item.accepted
                report.xattr_accepted = None if accepted is None else accepted.record()  # type: ignore[attr-defined]
                item.verdict = None  # its evidence need not outlive it
                if report.skipped and not hasattr(report, "wasxfail"):
                    report.longrepr = (item.nodeid, None, f"Skipped: {verdict}")  # type: ignore[assignment]
            elif call.excinfo is not None and isinstance(call.excinfo.value, Exception):
                error = f"the check itself raised {call.excinfo.typename}: {call.excinfo.value}"
                report.xattr_record = self._error_record(item.nodeid, error)  # type: ignore[attr-defined]
        return report

    def _error_record(self, node_id: str, what: str) -> dict[str, Any]:
        """The record of an item that came to no verdict, through no doing of the method."""
        from xattr_check.core.verdict import Verdict, of_gate

        case = self.order[node_id]
        return Verdict(
            method=case.method.name,
            subject=case.subject.name,
            check=case.check.name,
            family=case.check.family,
            status="error",
            sentence=" ".join(what.split()),
            **of_gate(case.check.gate),
        ).record()

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the record; show a method's traceback the first time, since every check meets the same."""
        self.progress.clear()
        if report.nodeid not in self.order or self.is_worker:
            return
        case, record = self.order[report.nodeid], getattr(report, "xattr_record", None)
        if record is not None:  # a controller has not loaded what its workers judged
            case.subject.name = record["subject"]
        if record is None and report.failed:  # a worker that crashed sends none
            record = self._error_record(report.nodeid, str(report.longrepr))
        if record is not None:
            self.records[report.nodeid] = record
            if self.accepting is not None:
                self.accepting.take(case, getattr(report, "xattr_accepted", None))
        if picture := getattr(report, "xattr_picture", None):
            self._pictures[case.key] = Path(picture)
        if fault := getattr(report, "xattr_picture_fault", ""):
            self._picture_faults.append(fault)
        trace = getattr(report, "xattr_trace", "")
        if trace and report.failed and trace not in self._traces and self.config.option.tbstyle != "no":
            self._traces.add(trace)
            # A section of its own: pytest repeats all of longrepr in the short summary where CI is set.
            failed = record is not None and record["status"] == "fail"
            report.sections.append(("what shows it" if failed else "where the method raised", trace))
        if isinstance(report.longrepr, str):
            report.longrepr = FailureText(report.longrepr)

    def pytest_runtest_logstart(self) -> None:
        """Count patience from the item's start."""
        self.progress.clear()

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Note what is to be judged, once -k, --lf and the like have chosen."""
        chosen = [item for item in session.items if isinstance(item, CheckItem)]
        self._chosen = {item.nodeid for item in chosen}
        if self.accepting is None:  # else each tells by itself of what the method raises, and is accepted
            self.battery.expect([item.case for item in chosen])
        turns = [subject for subject, _ in groupby(item.case.subject for item in chosen)]
        self._is_in_turns = len(turns) == len(set(turns))

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_teardown(self, item: pytest.Item, nextitem: pytest.Item | None) -> None:
        """Let go of a subject when it is the next one's turn."""
        if not (isinstance(item, CheckItem) and isinstance(nextitem, CheckItem) and self._is_in_turns):
            return
        if nextitem.case.subject is not item.case.subject:
            self.battery.release(item.case.subject)

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_node_collection_finished(self, ids: list[str]) -> None:
        """The same, of a worker."""
        self._chosen = self.order.keys() & set(ids)

    @property
    def _missing(self) -> int:
        """How many results there should be besides those that there are."""
        chosen = self.order.keys() if self._chosen is None else self._chosen
        return len(chosen - self.records.keys())

    @property
    def _results(self) -> list[dict[str, Any]]:
        """Records in the order of the battery, whichever worker was faster."""
        return [self.records[node_id] for node_id in self.order if node_id in self.records]

    @property
    def _says_nothing(self) -> bool:
        return {record["status"] for record in self.records.values()} == {"not_applicable"}

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        """Write the verdicts, whatever ended the session. A battery that could say nothing is no pass."""
        if self.is_worker:
            return
        if self._alone and self._says_nothing and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.NO_TESTS_COLLECTED
        settings = self.battery.settings
        writes = settings.saves or any(getattr(settings, name) for name in arguments.FILES)
        content = self._document() if writes else {}  # it asks git
        self._keep(content)
        if self._save_fault and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self.accepting is not None and self.records:
            self.accepting.write(ended=self._is_cut_short(session))
            if self.accepting.fault and session.exitstatus == pytest.ExitCode.OK:
                session.exitstatus = pytest.ExitCode.TESTS_FAILED
        if self.comparison is not None:
            self._compare(self.comparison, session)
            content = {**content, "comparison": self.comparison.record}
        self._tell(content)
        if self.config.option.no_summary:
            reporter = self.config.pluginmanager.get_plugin("terminalreporter")
            summary.write_why_nothing(reporter, self._results, after_dots=True)

    def _compare(self, compared: "comparison.Comparison", session: pytest.Session) -> None:
        """Hold the run against the saved one; what breaks a rule, here, whichever worker judged it first."""
        compared.take(self._results)
        if not compared.confirm(self.battery, ended=self._is_cut_short(session)):
            session.exitstatus = pytest.ExitCode.INTERRUPTED
        self.progress.clear()
        if compared.closes and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    @staticmethod
    def _is_cut_short(session: pytest.Session) -> bool:
        """Whether the run ended before all was judged."""
        ends = (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED)
        return session.exitstatus not in ends or bool(session.shouldfail or session.shouldstop)

    def _document(self) -> dict[str, Any]:
        """What was measured, and how."""
        from xattr_check.history import document

        return document.document(
            self.battery.settings,
            str(self.battery.run.device),
            self.started,
            self._results,
            self.config.rootpath,
            missing=self._missing,
            sources=self.battery.sources,
            subjects={subject.name: subject.label for subject in self.battery.subjects},
        )

    def _keep(self, content: dict[str, Any]) -> None:
        """Write it to the file that was asked for, and to the history."""
        from xattr_check.errors import UsageError
        from xattr_check.history import saved as history

        settings = self.battery.settings
        self._write_json(content)
        if settings.saves and self.records:
            try:
                self.saved = history.save(Path(settings.storage), content, self._pictures)
            except UsageError as error:  # a disk that became full must not cost the table as well
                self._save_fault = str(error)

    def _write_json(self, content: dict[str, Any]) -> None:
        from xattr_check.history import document

        if (file := self.battery.settings.json) is not None:
            document.write(Path(file), content)

    def _tell(self, content: dict[str, Any]) -> None:
        """Write what is for people, and with the comparison what was written without."""
        from xattr_check.storage.files import write_bytes

        settings = self.battery.settings
        if self.comparison is not None:
            self._write_json(content)
        compared = {} if self.comparison is None else self.comparison.for_reports
        if settings.markdown is not None:
            from xattr_check.report import markdown

            write_bytes(
                Path(settings.markdown),
                markdown.text(self._verdicts, missing=content["run"]["missing"], **compared).encode(),
            )
        if settings.html is not None:
            from xattr_check.history import saved as history
            from xattr_check.report import page as report

            self.progress("writing the report")
            source = report.ReportedRun("this run", content["run"], self._verdicts, self._pictures)
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always", history.HistoryWarning)
                saved = history.saved_runs(Path(settings.storage))
            self._unread = [str(one.message) for one in caught]
            write_bytes(Path(settings.html), report.render([source], saved, **compared).encode())

    @property
    def _verdicts(self) -> "list[Verdict]":
        from xattr_check.core.verdict import Verdict

        return [Verdict.from_record(record) for record in self._results]

    def pytest_terminal_summary(self, terminalreporter: "pytest.TerminalReporter") -> None:
        """The table, and where the pictures are; not with --no-summary, as in any version of pytest."""
        if terminalreporter.config.option.no_summary:
            return
        settings = self.battery.settings
        summary.write(terminalreporter, self._results, settings)
        if self.records and self._missing:
            told = "1 result is" if self._missing == 1 else f"{self._missing} results are"
            terminalreporter.write_line(f"{told} missing: the run ended before", yellow=True)
        if self.saved is not None:
            terminalreporter.write_line(f"saved as {self.saved}")
        if self._save_fault:
            terminalreporter.write_line(f"the run could not be saved: {self._save_fault}", red=True)
        if self.accepting is not None and self.records:
            self.accepting.tell(terminalreporter)
        if self.comparison is not None:
            self.comparison.write(terminalreporter)
        summary.write_pictures(terminalreporter, settings, len(self._pictures), self._picture_faults)
        if settings.html is not None:
            terminalreporter.write_line(f"report: {Path(settings.html).as_uri()}")
        for fault in self._unread if self.comparison is None else ():  # else it has told
            terminalreporter.write_line(fault, yellow=True)
        summary.write_why_nothing(terminalreporter, self._results)


def for_worker(config: pytest.Config, settings: Any) -> Any:
    """The settings of this process: an xdist worker takes its share of the devices or of the threads."""
    if not hasattr(config, "workerinput"):
        return settings
    import torch

    from xattr_check.core.devices import accelerator, preferred, take_share

    kind = preferred() if settings.device == "auto" else settings.device
    if kind not in ("cpu", accelerator()):  # one that is named is kept
        return settings
    number = int("".join(filter(str.isdigit, config.workerinput["workerid"])) or 0)
    if kind != "cpu":
        return replace(settings, device=take_share(number))
    torch.set_num_threads(max(1, torch.get_num_threads() // config.workerinput["workercount"]))
    return settings
