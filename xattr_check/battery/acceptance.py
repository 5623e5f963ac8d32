"""Failures of today, accepted: judged, and written into the file of the settings as expected."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from xattr_check.battery.battery import Battery, Case
from xattr_check.battery.item import expect
from xattr_check.battery.subjects import name_subjects
from xattr_check.config.settings import Settings
from xattr_check.config.xattr_yaml import read
from xattr_check.config.yaml_edits import merged, patch_file
from xattr_check.config.yaml_nodes import compose, value
from xattr_check.core.expected import ExpectedFailure
from xattr_check.core.verdict import Verdict
from xattr_check.errors import UsageError
from xattr_check.storage.files import make_folder, tell_unwritable

OPTION = "--xattr-accept"
Kind = Literal["new", "renewed", "removed"]


@dataclass(frozen=True)
class Change:
    """What the file is to say of a case from now on.

    kind: whether the failure was not expected, or is worse than it was when it was accepted, or is no more.
    """

    kind: Kind
    entry: ExpectedFailure

    def record(self) -> dict[str, Any]:
        """The change as JSON types."""
        return {"kind": self.kind, "entry": self.entry.record()}

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> "Change":
        """That of a record."""
        return cls(record["kind"], ExpectedFailure.from_record(record["entry"]))


class Acceptance:
    """What a battery fails, to be written into a file of settings, which need not be there.

    Raises UsageError where that could not be, before anything is judged: the file says nothing of a method or
    a subject, or cannot be written.
    """

    def __init__(self, battery: Battery, file: Path) -> None:
        self.battery, self.file = battery, file
        self.day = f"{datetime.now(UTC):%Y-%m-%d}"
        self._said = read(file) if file.exists() else Settings()
        said = self._said
        self._known: Sequence[str] = [
            *(subject.label for subject in name_subjects(said) if said.subjects or said.model is not None)
        ]
        labels = [subject.label for subject in battery.subjects]
        if self._known:
            self._expect_known("subject", labels, self._known)
        if said.methods and "all" not in said.methods:
            self._expect_known("method", [method.name for method in battery.methods], said.methods)
        # What stands at the top holds on all subjects.
        self._by_subject = bool(said.by_subject) or len({*self._known, *labels}) > 1
        with tell_unwritable(OPTION, file):
            make_folder(file.parent)
            if file.exists():
                file.open("r+b").close()

    def _expect_known(self, kind: str, judged: Sequence[str], known: Sequence[str]) -> None:
        for name in judged:
            if name not in known:
                problem = f"{kind} {name!r} is not among the {kind}s of {self.file}"
                raise UsageError(problem, option=OPTION, hint="add it there first")

    def judge(self, case: Case) -> tuple[Verdict, Change | None]:
        """The verdict on a case by what is expected of it from now on, and what changes in that.

        What fails where it gates is expected to. What passes is no longer, where the failure is expected of
        this case alone. An accepted failure that is no worse is left as it was, whatever its figure now: else
        it might get worse step by step.
        """
        found, before = self.battery.measure(case), self.battery.expected(case)
        if found.failed and before is None:
            new = ExpectedFailure.of(found, self.day)
            return expect(found, new), Change("new", new)
        if before is None:
            return found, None
        if found.failed and before.worse(found):
            new = before.renewed(found, self.day)
            return expect(found, new), Change("renewed", new)
        if found.status == "pass" and self._is_of_one(case):
            return found, Change("removed", before)
        verdict = expect(found, before)
        if verdict.status == "xpass":
            sentence = f"{verdict.sentence}; it is expected of others too: remove it by hand"
            verdict = replace(verdict, sentence=sentence)
        return verdict, None

    def _is_of_one(self, case: Case) -> bool:
        """Whether the failure is expected of this case, and not of all methods or on all subjects."""
        terms = self._said.by_subject.get(case.subject.label) if self._by_subject else self._said
        own = None if terms is None else terms.expected_failures.get(case.method.name)
        return isinstance(own, dict) and case.check.name in own

    def write(self, changes: Mapping[Case, Change]) -> None:
        """Write the changes into the file, as it is by now. Raises UsageError."""
        with tell_unwritable(OPTION, self.file):
            node = compose(self.file) if self.file.exists() else None
            data = {} if node is None else value(self.file, node)
            patch = {} if self.file.exists() else self._heading()
            if self._by_subject and not self._said.by_subject:
                labels = dict.fromkeys([*self._known, *(one.label for one in self.battery.subjects)])
                patch["subjects"] = {label: {} for label in labels}
            for case, change in changes.items():
                _put(patch, data, (*self._place_of(case), case.method.name, case.check.name), change)
            for place in {self._place_of(case) for case in changes}:
                _prune(patch, merged(data, patch), place)
            patch_file(self.file, patch)

    def _place_of(self, case: Case) -> tuple[str, ...]:
        """The keys under which the file says what is expected on the subject of a case."""
        at = ("subjects", case.subject.label) if self._by_subject else ()
        return (*at, "expected_failures")

    def _heading(self) -> dict[str, Any]:
        """What a new file says besides: what is judged, and on what."""
        settings = self.battery.settings
        if settings.model is not None:
            return {"methods": [*settings.methods], "model": settings.model, "data": settings.data}
        return {"methods": [*settings.methods], "subjects": [one.label for one in self.battery.subjects]}


def _put(patch: dict[str, Any], data: Any, place: tuple[str, ...], change: Change) -> None:
    """Add a change to a patch of data; the reason that is there stays."""
    *above, check = place
    for key in above:
        patch = patch.setdefault(key, {})
        data = data.get(key) if isinstance(data, dict) else None
    there = data.get(check) if isinstance(data, dict) else None
    entry: dict[str, Any] | None = None
    if change.kind != "removed":
        entry = change.entry.record()
        if isinstance(there, dict):
            entry = {key: None for key in there if key not in entry} | entry
            if "reason" in there:
                del entry["reason"]
    patch[check] = entry


def _prune(patch: dict[str, Any], found: Any, place: tuple[str, ...]) -> None:
    """Let a patch remove the methods at a place of which nothing is expected any more, and then the place."""
    *above, last = place
    for key in above:
        patch, found = patch[key], found[key]
    emptied = [name for name in patch[last] if not found[last].get(name)]
    patch[last] |= dict.fromkeys(emptied)
    if len(emptied) == len(found[last]):
        patch[last] = None
