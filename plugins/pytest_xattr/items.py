"""Items of a battery as pytest nodes: `xattr::METHOD::CHECK`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
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
            node.battery, node.method = self.battery, method
            yield node


class MethodNode(pytest.Collector):
    """The checks of one method."""

    battery: "Battery"
    method: "Method"

    def collect(self) -> Iterator["CheckItem"]:
        """One item for each check."""
        for check in self.battery.checks:
            item: CheckItem = CheckItem.from_parent(self, name=check.name)
            item.battery, item.method, item.check = self.battery, self.method, check
            item.extra_keyword_matches.add(check.family)
            yield item


class CheckItem(pytest.Item):
    """One check of one method; its outcome is that of the verdict."""

    battery: "Battery"
    method: "Method"
    check: "Axiom"
    verdict: "Verdict | None" = None
    picture: Path | None = None
    picture_fault: str = ""

    def runtest(self) -> None:
        """Judge, and raise the outcome that stands for the verdict."""
        self.verdict = self.battery.judge(self.method, self.check)
        self.user_properties.extend(_properties(self.verdict))
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
