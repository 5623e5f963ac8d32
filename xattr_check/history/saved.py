"""Saved runs: one JSON file for each, found again by name, by path or by commit."""

import hashlib
import json
import secrets
import subprocess
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property, partial
from pathlib import Path
from typing import Any, get_args

from xattr_check.config.settings import DEFAULT_SUBJECT
from xattr_check.core.verdict import Key, Status, Verdict
from xattr_check.errors import UsageError
from xattr_check.history import document
from xattr_check.history.formats import current
from xattr_check.storage.digest import safe_name
from xattr_check.storage.files import check_writable, keep_out_of_git, tell_unwritable, write_bytes
from xattr_check.wording import nearest

# The folder of pictures beside the runs.
PICTURES = "pictures"
REQUIRED = {"version", "run", "results"}


class HistoryWarning(UserWarning):
    """A saved run cannot be read; the others are used without it."""


@dataclass(frozen=True)
class SavedRun:
    """A run as it was saved.

    path: its file. content: the document, see `history.document`.
    """

    path: Path
    content: Mapping[str, Any]

    @property
    def name(self) -> str:
        """The name it was saved under, or that of its file."""
        return str(self.run.get("name") or self.path.stem)

    @property
    def run(self) -> Mapping[str, Any]:
        """Where its results come from."""
        found: Mapping[str, Any] = self.content["run"]
        return found

    @property
    def started(self) -> datetime:
        """When it was started."""
        found = datetime.fromisoformat(self.run["started"])
        return found if found.tzinfo else found.replace(tzinfo=UTC)

    @property
    def commit(self) -> str:
        """The git commit it ran on, or an empty string."""
        return str((self.run.get("git") or {}).get("commit", ""))

    @cached_property
    def verdicts(self) -> dict[Key, Verdict]:
        """Its verdicts."""
        version = int(self.content["version"])
        found = [Verdict.from_record(current(record, version)) for record in self.content["results"]]
        return {verdict.key: verdict for verdict in found}

    def verdicts_of(self, wanted: Mapping[str, str]) -> list[Verdict]:
        """Its verdicts of a method, a subject and a check, by these names; of all where none is named."""
        return [
            verdict
            for key, verdict in self.verdicts.items()
            if all(getattr(key, kind) == name for kind, name in wanted.items())
        ]

    @cached_property
    def pictures(self) -> dict[Key, Path]:
        """Files of pictures beside it."""
        found = {Key.of(record): str(record.get("picture") or "") for record in self.content["results"]}
        return {
            key: self.path.parent / PICTURES / name
            for key, name in found.items()
            if name and name == Path(name).name  # of this folder and of no other
        }

    @property
    def subjects(self) -> set[str]:
        """The specs of its subjects; of a run that was saved before they were, that of its one subject."""
        known = self.run.get("subjects") or {}
        return {*known.values()} or {(self.run.get("options") or {}).get("subject", DEFAULT_SUBJECT)}

    @property
    def missing(self) -> int:
        """How many results it lacks, since it was interrupted."""
        return int(self.run.get("missing") or 0)

    def __str__(self) -> str:
        at = f" at {self.commit[:8]}" if self.commit else ""
        partial = f", interrupted, {self.missing} results are missing" if self.missing else ""
        return f"{self.name} of {self.started:%Y-%m-%d %H:%M}{at}{partial}"


def folder_of(storage: Path) -> Path:
    """Where the runs of a storage are saved."""
    return storage / "history"


def check_storage(storage: Path) -> None:
    """Raise UsageError where a run could not be saved, before anything is measured."""
    check_writable(folder_of(storage) / "run.json", "--xattr-storage")


def save(storage: Path, content: Mapping[str, Any], pictures: Mapping[Key, Path] | None = None) -> Path:
    """Save a run beside the others, in a file of its own, whole or not at all. Raises UsageError.

    pictures: files by what they show. They are kept under the digests of what is in them, so that runs in
        which nothing changed share them.
    """
    folder, run = folder_of(storage), content["run"]
    started = datetime.fromisoformat(run["started"])
    # The token keeps apart what two processes save in the same second.
    path = folder / f"{started:%Y%m%dT%H%M%SZ}_{safe_name(run['name'])}_{secrets.token_hex(3)}.json"
    with tell_unwritable("--xattr-storage", storage, "folder", "pass --xattr-storage=DIR"):
        kept = {key: _keep(folder / PICTURES, picture) for key, picture in (pictures or {}).items()}
        results = [{**record, "picture": kept.get(Key.of(record))} for record in content["results"]]
        document.write(path, {**content, "results": results})
        keep_out_of_git(folder)
    return path


def _keep(folder: Path, picture: Path) -> str | None:
    """The name of a copy in a folder; None where the picture is gone."""
    if not picture.is_file():
        return None
    content = picture.read_bytes()
    kept = folder / f"{hashlib.sha256(content).hexdigest()[:24]}{picture.suffix}"
    if not kept.exists():
        write_bytes(kept, content)
    return kept.name


def load(path: Path) -> SavedRun:
    """A saved run. Raises UsageError where the file is damaged, of something else or of a later version."""
    wrong = partial(UsageError, place=str(path))
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise wrong(expected="a saved run", came=str(error.strerror)) from None
    except (ValueError, RecursionError) as error:
        raise wrong(expected="a saved run", came=f"something else than JSON: {error}") from None
    if not isinstance(content, dict) or not content.keys() >= REQUIRED:
        raise wrong(expected="a saved run, as --xattr-save writes it", came="other JSON")
    version = content["version"]
    if not isinstance(version, int) or version > document.VERSION:
        raise wrong(
            expected=f"version {document.VERSION} or older",
            came=f"{version!r}: it was saved by a later xattr-check",
            hint="pip install --upgrade xattr-check",
        )
    run = SavedRun(path, content)
    try:
        _ = run.started, run.commit, run.missing
        unknown = {verdict.status for verdict in run.verdicts.values()} - {*get_args(Status)}
        if unknown:
            raise ValueError(f"no status {sorted(unknown)[0]!r}")
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        came = f"one that is damaged ({type(error).__name__}: {error})"
        raise wrong(expected="a saved run", came=came) from None
    return run


def saved_runs(storage: Path) -> list[SavedRun]:
    """The runs of a storage, oldest first. What cannot be read is named in a warning and left out."""
    return sorted(_readable(folder_of(storage)), key=lambda run: (run.started, run.path.name))


def _readable(folder: Path) -> Iterator[SavedRun]:
    for path in sorted(folder.glob("*.json")):
        try:
            yield load(path)
        except UsageError as error:
            warnings.warn(f"{error}; it is left out", HistoryWarning, stacklevel=3)


def find(
    storage: Path,
    reference: str,
    here: Path,
    option: str = "--xattr-compare",
    fitness: Callable[[SavedRun], int] = lambda run: 0,
) -> SavedRun:
    """The run that a reference means: '' the last one, `git:REF`, the last one of a name, or a path.

    here: the folder that a path is relative to, and whose git knows a REF. option: what asked for it, as a
    mistake is told. fitness: how well a run fits, where a name or a commit has several: of those that fit
    best the last that is whole, else the last. Raises UsageError.
    """
    runs = saved_runs(storage)
    wrong = partial(UsageError, option=option, value=reference or None)
    named = [run for run in runs if reference in ("", run.name, run.path.name, run.path.stem)]
    if named:
        return _best(named, fitness)
    if (here / reference).is_file():
        return load(here / reference)
    if not runs:
        raise wrong(f"no run is saved in {folder_of(storage)} yet", hint="save one with --xattr-save")
    if reference.startswith("git:"):
        try:
            return _best(_of_commit(runs, _commit(reference.partition(":")[2], here)), fitness)
        except UsageError as error:
            raise error.about(option, reference) from None
    raise wrong(
        expected="the name of a saved run, a file or git:REF",
        hint=nearest(reference, {run.name for run in runs}),
    )


def _best(runs: Sequence[SavedRun], fitness: Callable[[SavedRun], int]) -> SavedRun:
    found = [fitness(run) for run in runs]
    fitting = [run for run, one in zip(runs, found, strict=True) if one == max(found)]
    return ([run for run in fitting if not run.missing] or fitting)[-1]


def _of_commit(runs: Sequence[SavedRun], commit: str) -> list[SavedRun]:
    """The runs of a commit, those without other changes if there are any. Raises UsageError."""
    found = [run for run in runs if run.commit == commit]
    if not found:
        known = ", ".join(dict.fromkeys(run.commit[:8] for run in reversed(runs) if run.commit))
        raise UsageError(
            f"no run is saved of commit {commit[:8]}", hint=f"there are runs of {known or 'no commit'}"
        )
    return [run for run in found if not run.run["git"].get("dirty")] or found


def _commit(revision: str, here: Path) -> str:
    """The commit that a branch, a tag or another name of it means. Raises UsageError."""
    command = ["git", "-C", str(here), "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=10)
    except (OSError, subprocess.SubprocessError):
        raise UsageError(expected=f"a commit, branch or tag of the repository in {here}") from None
    return done.stdout.strip()
