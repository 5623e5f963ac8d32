"""Items of a battery as pytest nodes: `xattr::METHOD::CHECK`."""

import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import pytest

from pytest_xattr.arguments import ROOT

if TYPE_CHECKING:
    from xattr_check.battery.battery import Battery
    from xattr_check.config.settings import Settings
    from xattr_check.core.checks import Axiom
    from xattr_check.core.method import Method
    from xattr_check.core.verdict import Verdict


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
    """All items of a battery, by method; in the root directory, so that its conftest.py counts."""

    battery: "Battery"

    @classmethod
    def of(cls, session: pytest.Session, battery: "Battery") -> "BatteryNode":
        """The node of a battery at the root of a session."""
        path = Path(session.config.rootpath)
        node: BatteryNode = cls.from_parent(session, name=ROOT, nodeid=ROOT, path=path)
        node.battery = battery
        return node

    def collect(self) -> Iterator["MethodNode"]:
        """One node for each method."""
        for method in self.battery.methods:
            node: MethodNode = MethodNode.from_parent(self, name=method.name)
            node.battery, node.method, node.obj = self.battery, method, method.function
            yield node


class MethodNode(pytest.Collector):
    """The checks of one method.

    obj: the method's function, where conftests look for the docstring of a class of tests.
    """

    battery: "Battery"
    method: "Method"
    obj: Callable[..., Any]

    def collect(self) -> Iterator["CheckItem"]:
        """One item for each check."""
        for check in self.battery.checks:
            yield CheckItem.of(self, check)


class CheckItem(pytest.Item):
    """One check of one method; its outcome is that of the verdict.

    Conftests and other plugins ask every item for what pytest's own functions have. This one answers as a
    test function without fixtures and parameters.

    function, obj: stand for the test, with the check's name, statement and module.
    module: the one that declares the check. cls, instance: none.
    """

    battery: "Battery"
    method: "Method"
    check: "Axiom"
    verdict: "Verdict | None" = None
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
    def of(cls, parent: MethodNode, check: "Axiom") -> "CheckItem":
        """The item of a check, under its method."""
        item: CheckItem = cls.from_parent(parent, name=check.name)
        item.battery, item.method, item.check = parent.battery, parent.method, check
        item.extra_keyword_matches.add(check.family)
        item.function = item.obj = item._stand_in()
        item.module = sys.modules.get(item.function.__module__)
        item.originalname, item.fixturenames, item.funcargs = check.name, [], {}
        return item

    def _stand_in(self) -> Callable[[], None]:
        """A function of the item's own, which others may mark and read without touching the check."""

        def test() -> None:
            self.runtest()

        test.__name__ = test.__qualname__ = self.check.name
        test.__doc__ = self.check.statement
        test.__module__ = self.check.measure.__module__
        return test

    def runtest(self) -> None:
        """Judge, and raise the outcome that stands for the verdict."""
        self.verdict = self.battery.judge(self.method, self.check)
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
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[Path, None, str]:
        """Where reports place it: in no file, under its method and check."""
        return self.path / ROOT, None, f"{self.check.name} of {self.method.name}"


def picture_folder(settings: "Settings") -> Path:
    """Where the pictures of all subjects lie."""
    return Path(settings.storage) / "pictures"


def _properties(verdict: "Verdict") -> Iterator[tuple[str, object]]:
    record = verdict.record()
    for name in ("status", "statistic", "interval", "gate", "sentence"):
        if record[name] is not None:
            yield name, str(record[name])
