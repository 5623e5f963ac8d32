"""The document of a run: its records and where they come from, as one JSON file."""

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from xattr_check.config.settings import Settings
from xattr_check.storage.files import write_bytes

# Of the layout; readers refuse what is newer than they know.
# 1: no draws, no fingerprints. 2: no figures, no pictures, no options. 3: bounds in the words of gates alone,
# sentences that begin with their check and its interval.
VERSION = 4
PACKAGES = ("xattr-check", "torch", "torchvision", "numpy", "scipy", "scikit-learn", "scikit-image")


def document(
    settings: Settings,
    device: str,
    started: datetime,
    records: Sequence[Mapping[str, Any]],
    folder: Path,
    *,
    missing: int = 0,
    sources: Mapping[str, str] | None = None,
    subjects: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The records of a run, with what is needed to repeat it.

    folder: the one whose git commit is noted, if it has one.
    missing: how many items came to no result, since the run was interrupted.
    sources: digests of the methods' sources, by spec.
    subjects: the spec of each subject, by the name that its results have.
    """
    git = _git(folder)
    return {
        "version": VERSION,
        "run": {
            "name": settings.save or (git or {}).get("commit", "")[:12] or "unnamed",
            "started": started.astimezone(UTC).isoformat(timespec="seconds"),
            "seed": settings.seed,
            "budget": settings.budget,
            "device": device,
            "versions": _versions(),
            "git": git,
            "missing": missing,
            "options": settings.deviations(),
            "sources": dict(sources or {}),
            "subjects": dict(subjects or {}),
        },
        "results": list(records),
    }


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def _git(folder: Path) -> dict[str, Any] | None:
    def ask(*arguments: str) -> str:
        command = ["git", "-C", str(folder), *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "dirty": bool(ask("status", "--porcelain"))}
    except (OSError, subprocess.SubprocessError):
        return None


def write(path: Path, content: Mapping[str, Any]) -> None:
    """Write a document, whole or not at all."""
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_bytes(path, f"{text}\n".encode())
