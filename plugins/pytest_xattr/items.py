"""Items of a battery as pytest nodes: `xattr::METHOD::CHECK`, or `xattr::SUBJECT::METHOD::CHECK`."""

import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from pytest_xattr.arguments import ROOT

if TYPE_CHECKING:
    from xattr_check.battery.acceptance import Acceptance, Change
    from xattr_check.battery.battery import Battery, Case
    from xattr_check.config.settings import Settings
    from xattr_check.core.verdict import Verdict


# Folders of what calls the items.
PYTESTS = frozenset({"_pytest", "pluggy"})


class Rejected(Exception):
    """A verdict on which the gate closes."""


@dataclass(frozen=True)
class Headline:
    """What pytest's one-line summaries show of a failure."""

    message: str

    def __str__(self) -> str:
        return self.message


class FailureText(str):
    """A failure in words; its first line is the headline, in every version of pytest and under --tb=line."""

    @property
    def reprcrash(self) -> Headline:
        """Where pytest looks for the headline."""
        return Headline(self.partition("\n")[0])


class BatteryNode(pytest.Directory):
    """All items of a battery; in the root directory, so that its conftest.py counts.

    tells_subjects: whether node ids have the subject.
    """

    battery: "Battery"
    tells_subjects: bool

    @classmethod
    def of(cls, session: pytest.Session, battery: "Battery", *, tells_subjects: bool) -> "BatteryNode":
        """The node of a battery at the root of a session."""
        path = Path(session.config.rootpath)
        node: BatteryNode = cls.from_parent(session, name=ROOT, nodeid=ROOT, path=path)
        node.battery, node.tells_subjects = battery, tells_subjects
        return node

    def collect(self) -> "Iterator[SubjectNode | MethodNode]":
        """One node for each subject where they are told, else for each method."""
        for _, cases in groupby(self.battery.cases, key=lambda case: case.subject):
            if self.tells_subjects:
                yield SubjectNode.of(self, self.battery, list(cases))
            else:
                yield from _method_nodes(self, self.battery, list(cases))


class SubjectNode(pytest.Collector):
    """The methods on one subject."""

    battery: "Battery"
    cases: "Sequence[Case]"

    @classmethod
    def of(cls, parent: BatteryNode, battery: "Battery", cases: "Sequence[Case]") -> "SubjectNode":
        """The node of the subject of all these cases."""
        node: SubjectNode = cls.from_parent(parent, name=cases[0].subject.label)
        node.battery, node.cases = battery, cases
        return node

    def collect(self) -> "Iterator[MethodNode]":
        """One node for each method."""
        return _method_nodes(self, self.battery, self.cases)


def _method_nodes(
    parent: pytest.Collector, battery: "Battery", cases: "Sequence[Case]"
) -> "Iterator[MethodNode]":
    """The nodes of the methods of some cases on one subject."""
    for method, own in groupby(cases, key=lambda case: case.method):
        node: MethodNode = MethodNode.from_parent(parent, name=method.name)
        node.battery, node.cases, node.obj = battery, list(own), method.function
        yield node


class MethodNode(pytest.Collector):
    """The checks of one method.

    obj: the method's function, where conftests look for the docstring of a class of tests.
    """

    battery: "Battery"
    cases: "Sequence[Case]"
    obj: Callable[..., Any]

    def collect(self) -> Iterator["CheckItem"]:
        """One item for each check."""
        for case in self.cases:
            yield CheckItem.of(self, case)


class CheckItem(pytest.Item):
    """One check of one method on one subject; its outcome is that of the verdict.

    Conftests and other plugins ask every item for what pytest's own functions have. This one answers as a
    test function without fixtures and parameters.

    acceptance: where failures are accepted. accepted: what that changes in what is expected.
    function, obj: stand for the test, with the check's name, statement and module.
    module: the one that declares the check. cls, instance: none.
    """

    battery: "Battery"
    case: "Case"
    acceptance: "Acceptance | None" = None
    verdict: "Verdict | None" = None
    accepted: "Change | None" = None
    picture: Path | None = None
    picture_fault: str = ""
    function: Callable[[], None]
    obj: Callable[[], None]
    module: ModuleType | None
    cls: type | None = None
    instance: object | None = None
    originalname: str
    fixturenames: list[str]
    funcargs: dict[str, object]

    @classmethod
    def of(cls, parent: MethodNode, case: "Case") -> "CheckItem":
        """The item of a case, under its method."""
        check = case.check
        item: CheckItem = cls.from_parent(parent, name=check.name)
        item.battery, item.case = parent.battery, case
        item.extra_keyword_matches.add(check.family)
        item.function = item.obj = item._stand_in()
        item.module = sys.modules.get(item.function.__module__)
        item.originalname, item.fixturenames, item.funcargs = check.name, [], {}
        return item

    def _stand_in(self) -> Callable[[], None]:
        """A function of the item's own, which others may mark and read without touching the check."""

        def test() -> None:
            self.runtest()

        check = self.case.check
        test.__name__ = test.__qualname__ = check.name
        test.__doc__ = check.statement
        test.__module__ = check.measure.__module__
        return test

    def runtest(self) -> None:
        """Judge, and raise the outcome that stands for the verdict."""
        if self.acceptance is None:
            self.verdict = self.battery.judge(self.case)
        else:
            self.verdict, self.accepted = self.acceptance.judge(self.case)
        found = dict(_properties(self.verdict))
        # Those of an earlier try, where a plugin runs what failed again, are replaced.
        self.user_properties[:] = [one for one in self.user_properties if one[0] not in found]
        self.user_properties.extend(found.items())
        self._save_picture(self.verdict)
        status, sentence = self.verdict.status, str(self.verdict)
        if status == "xfail" and self.config.option.runxfail:
            raise Rejected(sentence)
        if status == "xpass" and not self.config.option.runxfail:
            raise Rejected(f"[XPASS(strict)] {sentence}")
        if status in ("undecided", "invalid") and self.battery.settings.strict and self.verdict.required:
            raise Rejected(f"{sentence} ({status}, and --xattr-strict)")
        if status in ("fail", "error") and self.verdict.failed:
            raise Rejected(sentence)
        if status == "xfail":
            raise pytest.xfail.Exception(sentence)
        if status in ("undecided", "invalid", "not_applicable"):
            raise pytest.skip.Exception(sentence)

    def _save_picture(self, verdict: "Verdict") -> None:
        """Write the picture here, where the evidence is; what prevents it is not held against the method."""
        from xattr_check.report import pictures
        from xattr_check.storage.digest import safe_name

        folder = picture_folder(self.battery.settings)
        try:
            self.picture = pictures.save(verdict, folder / safe_name(verdict.subject))
            if self.picture is not None:
                (folder / ".gitignore").write_text("*\n")
        except (OSError, ValueError) as error:
            self.picture_fault = getattr(error, "strerror", None) or str(error)

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:
        """The sentence alone; anything but a verdict keeps pytest's own representation."""
        if isinstance(excinfo.value, Rejected):
            return str(excinfo.value)
        # Of an error of the check itself, what is pytest's own tells nothing.
        own = excinfo.traceback.filter(lambda entry: not PYTESTS.intersection(Path(entry.path).parts))
        excinfo.traceback = own or excinfo.traceback
        asked = self.config.getoption("tbstyle")
        return super().repr_failure(excinfo, "short" if asked == "auto" else asked)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where reports place it: in no file, under its method and check, and its subject if that is told."""
        case, told = self.case, isinstance(self.parent and self.parent.parent, SubjectNode)
        on = f" on {case.subject.label}" if told else ""
        return self.path / ROOT, None, f"{case.check.name} of {case.method.name}{on}"


def picture_folder(settings: "Settings") -> Path:
    """Where the pictures of all subjects lie."""
    return Path(settings.storage) / "pictures"


def _properties(verdict: "Verdict") -> Iterator[tuple[str, object]]:
    record = verdict.record()
    for name in ("status", "statistic", "interval", "gate", "sentence"):
        if record[name] is not None:
            yield name, str(record[name])
