"""Runs that are saved, and found again."""

import errno
import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
import torch

from xattr_check import AtMost, UsageError
from xattr_check.config.settings import Settings
from xattr_check.core.verdict import Drawn, Key, Verdict, of_gate
from xattr_check.history import saved as history
from xattr_check.history.document import document
from xattr_check.statistics.intervals import Interval

START = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def verdict(**given: Any) -> Verdict:
    rows = torch.tensor([[0.1, 1 / 3], [float("nan"), 2]], dtype=torch.float64)
    usual: dict[str, Any] = {
        "method": "mymod:explain",
        "subject": "digits",
        "check": "deletion",
        "family": "faithfulness",
        "status": "pass",
        "sentence": "it holds",
        **of_gate(AtMost(1)),
        "interval": Interval(0.5, 0.4, 0.6),
        "draws": {"7": Drawn(rows, {"random": 0.5})},
    }
    return Verdict(**{**usual, **given})


def content(name: str = "first", hours: int = 0, **run: Any) -> dict[str, Any]:
    settings = Settings(methods=["mymod:explain"], save=name)
    made = document(settings, "cpu", START + timedelta(hours=hours), [verdict().record()], Path("/"))
    made["run"] |= run
    return made


@pytest.fixture
def storage(tmp_path: Path) -> Path:
    return tmp_path / ".xattr"


def test_a_run_comes_back_as_it_was_saved(storage: Path) -> None:
    run = history.load(history.save(storage, content()))
    assert (run.name, run.started, run.commit) == ("first", START, "")
    found = run.verdicts[Key("digits", "mymod:explain", "deletion")]
    assert (found.status, found.interval) == ("pass", Interval(0.5, 0.4, 0.6))
    torch.testing.assert_close(
        found.draws["7"].rows, verdict().draws["7"].rows, rtol=1e-8, atol=0, equal_nan=True
    )
    assert found.draws["7"].controls == {"random": 0.5}
    assert str(run) == "first of 2026-01-02 03:04"


def test_it_is_read_by_people(storage: Path) -> None:
    text = history.save(storage, content()).read_text()
    assert '"name": "first"' in text
    assert text.endswith("}\n")
    assert (history.folder_of(storage) / ".gitignore").read_text() == "*\n"


@pytest.mark.parametrize("name", ["a/b", "a b", "<b>&\"'", "$(rm -rf)", "..", "é", "x" * 300, "CON", "-rf"])
def test_any_name_is_found_again(name: str, storage: Path) -> None:
    path = history.save(storage, content(name))
    assert path.parent == history.folder_of(storage)
    assert history.find(storage, name, storage.parent).path == path


def test_runs_that_are_saved_at_once_do_not_meet(storage: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        paths = list(pool.map(lambda _: history.save(storage, content()), range(32)))
    assert len(set(paths)) == 32
    assert len(history.saved_runs(storage)) == 32
    assert list(history.folder_of(storage).glob("*.part")) == []


def test_the_last_run_is_found_and_the_last_of_a_name(storage: Path) -> None:
    names = {2: "new", 0: "old", 1: "old"}
    paths = {hours: history.save(storage, content(name, hours)) for hours, name in names.items()}
    assert [run.path for run in history.saved_runs(storage)] == [paths[0], paths[1], paths[2]]
    assert history.find(storage, "", storage).path == paths[2]
    assert history.find(storage, "old", storage).path == paths[1]
    assert history.find(storage, paths[0].name, storage).path == paths[0]


def test_a_path_is_found_without_a_storage(storage: Path, tmp_path: Path) -> None:
    path = history.save(storage, content()).rename(tmp_path / "baseline.json")
    assert history.find(tmp_path / "none", "baseline.json", tmp_path).path == path
    assert history.find(tmp_path / "none", str(path), tmp_path / "elsewhere").path == path


def test_a_commit_is_found_by_any_of_its_names(storage: Path, tmp_path: Path) -> None:
    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b")
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()

    git("init", "--initial-branch=main")
    git("commit", "--allow-empty", "-m", "one")
    commit = git("rev-parse", "HEAD")
    clean = history.save(storage, content("a", git={"commit": commit, "dirty": False}))
    history.save(storage, content("b", 1, git={"commit": commit, "dirty": True}))
    assert history.find(storage, "git:main", tmp_path).path == clean
    assert history.find(storage, f"git:{commit[:9]}", tmp_path).path == clean
    git("commit", "--allow-empty", "-m", "two")
    assert history.find(storage, "git:HEAD~1", tmp_path).path == clean
    with pytest.raises(UsageError, match=rf"no run is saved of commit \w+; there are runs of {commit[:8]}$"):
        history.find(storage, "git:HEAD", tmp_path)
    with pytest.raises(UsageError, match="expected a commit, branch or tag of the repository in"):
        history.find(storage, "git:nowhere", tmp_path)


def test_a_run_that_is_not_there_names_the_nearest(storage: Path) -> None:
    with pytest.raises(UsageError, match=r"no run is saved in .* yet; save one with --xattr-save"):
        history.find(storage, "", storage)
    history.save(storage, content("release-1"))
    told = "expected the name of a saved run, a file or git:REF; the nearest are release-1"
    for reference in ("relase-1", "git"):
        with pytest.raises(UsageError, match=f"--xattr-compare='{reference}': {told}"):
            history.find(storage, reference, storage)


DAMAGED = {
    "": "came something else than JSON",
    "{": "came something else than JSON",
    "[1, 2]": "came other JSON",
    '{"version": 1}': "came other JSON",
    '{"version": 99, "run": {}, "results": []}': "expected version 4 or older, came 99",
    '{"version": "x", "run": {}, "results": []}': "expected version 4 or older, came 'x'",
    '{"version": 2, "run": {}, "results": []}': "damaged",
    '{"version": 2, "run": {"started": "2026-01-02T03:04:05+00:00"}, "results": [{}]}': "damaged",
    '{"version": 2, "run": {"started": "yesterday"}, "results": []}': "damaged",
    "[" * 100_000: "came something else than JSON",
    json.dumps({"version": 2, "run": []}): "came other JSON",
    json.dumps({"version": 2, "run": [], "results": []}): "damaged",
    json.dumps(content(git="abc")): "damaged",
    json.dumps(content(missing="many")): "damaged",
    json.dumps({**content(), "results": [{**verdict().record(), "status": "fine"}]}): "no status 'fine'",
    json.dumps({**content(), "results": [{**verdict().record(), "interval": [1]}]}): "damaged",
    json.dumps({**content(), "results": [{**verdict().record(), "controls": {"random": "much"}}]}): "damaged",
    json.dumps({**content(), "results": 3}): "damaged",
    json.dumps(content())[:-200]: "came something else than JSON",
}


@pytest.mark.parametrize("text", DAMAGED, ids=[text[:60] for text in DAMAGED])
def test_a_damaged_file_is_named_and_left_out(text: str, storage: Path) -> None:
    whole = history.save(storage, content())
    bad = history.folder_of(storage) / "zz.json"
    bad.write_text(text)
    with pytest.raises(UsageError, match=DAMAGED[text]) as told:
        history.load(bad)
    assert str(told.value).startswith(f"{bad}: ")
    with pytest.warns(history.HistoryWarning, match="it is left out"):
        assert history.find(storage, "", storage).path == whole


def test_a_file_of_the_first_version_is_read(tmp_path: Path) -> None:
    old = content()
    old["version"] = 1
    del old["run"]["name"], old["run"]["missing"], old["run"]["sources"]
    for key in ("better", "scale", "fingerprint", "code", "draws"):
        del old["results"][0][key]
    path = tmp_path / "old.json"
    path.write_text(json.dumps(old))
    run = history.load(path)
    assert run.name == "old"
    assert run.verdicts[Key("digits", "mymod:explain", "deletion")].draws == {}


def test_a_storage_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UsageError, match="expected a folder that can be written, came Not a directory"):
        history.save(tmp_path / "file", content())


def test_what_a_killed_process_left_half_written_is_not_seen(storage: Path) -> None:
    whole = history.save(storage, content())
    (history.folder_of(storage) / "tmpab12.part").write_text('{"version": 2, "run"')
    (history.folder_of(storage) / "zz.json").write_bytes(b"\xff\xfe")
    with pytest.warns(
        history.HistoryWarning, match=r"zz\.json: expected a saved run, came something else than JSON"
    ):
        assert [run.path for run in history.saved_runs(storage)] == [whole]


def test_an_error_while_it_is_written_leaves_nothing(storage: Path) -> None:
    bad = content()
    bad["results"].append({**verdict().record(), "statistic": float("nan")})
    with pytest.raises(ValueError, match="Out of range float"):
        history.save(storage, bad)
    assert list(history.folder_of(storage).glob("*")) == []


def test_a_time_without_a_zone_sorts_among_the_others(storage: Path) -> None:
    first = history.save(storage, content(hours=0))
    last = history.save(storage, content(hours=2))
    path = history.save(storage, content(hours=1))
    path.write_text(path.read_text().replace("T04:04:05+00:00", "T04:04:05"))
    assert [run.path for run in history.saved_runs(storage)] == [first, path, last]


def test_a_partial_run_says_so(storage: Path) -> None:
    run = history.load(history.save(storage, content(missing=3)))
    assert str(run) == "first of 2026-01-02 03:04, interrupted, 3 results are missing"


def test_a_commit_of_an_unknown_state_is_found(storage: Path, tmp_path: Path) -> None:
    (tmp_path / "r").mkdir()
    for command in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "--allow-empty", "-qm1"],
    ):
        subprocess.run(["git", "-C", str(tmp_path / "r"), *command], check=True)
    commit = subprocess.run(
        ["git", "-C", str(tmp_path / "r"), "rev-parse", "HEAD"], check=True, capture_output=True, text=True
    ).stdout.strip()
    path = history.save(storage, content(git={"commit": commit}))
    assert history.find(storage, "git:HEAD", tmp_path / "r").path == path


@pytest.mark.parametrize("reason", [errno.EACCES, errno.ENOSPC, errno.EROFS])
def test_a_disk_that_refuses_is_told(reason: int, storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: Any, **__: Any) -> Any:
        raise OSError(reason, os.strerror(reason))

    history.check_storage(storage)
    monkeypatch.setattr(Path, "touch", refuse)
    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)
    told = f"expected a f.* that can be written, came {os.strerror(reason)}; pass --xattr-storage="
    with pytest.raises(UsageError, match=told):
        history.save(storage, content())
    with pytest.raises(UsageError, match=told):
        history.check_storage(storage)


def test_processes_that_save_at_once_do_not_meet(storage: Path) -> None:
    given = storage.parent / "content.json"
    given.write_text(json.dumps(content()))
    code = (
        "import json, sys; from pathlib import Path; from xattr_check.history import saved\n"
        "content = json.loads(Path(sys.argv[1]).read_text())\n"
        "for _ in range(10): saved.save(Path(sys.argv[2]), content)\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", code, str(given), str(storage)]) for _ in range(2)]
    assert [process.wait(120) for process in both] == [0, 0]
    assert len(history.saved_runs(storage)) == 20
