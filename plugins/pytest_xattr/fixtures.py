"""Fixtures of a user's own tests: what to judge on, and something to judge with."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from xattr_check.battery.judge import Judge
    from xattr_check.battery.subjects import NamedSubject
    from xattr_check.config.settings import Settings
    from xattr_check.core.run import Run
    from xattr_check.core.subject import Subject


@dataclass
class Surroundings:
    """What the command line and xattr.yaml say of tests, and a run: those of the battery, if there is one.

    subjects: by label. labels: those of the subjects that tests were given, by their names.
    """

    settings: "Settings"
    run: "Run"
    subjects: "dict[str, NamedSubject]"
    labels: dict[str, str] = field(default_factory=dict)


SURROUNDINGS = pytest.StashKey[Surroundings]()


@contextmanager
def _fail_on_mistakes() -> Iterator[None]:
    """A mistake as one sentence, without the frames of the library."""
    from xattr_check.errors import UsageError

    try:
        yield
    except UsageError as error:
        pytest.fail(str(error), pytrace=False)


def _read_surroundings(config: pytest.Config) -> Surroundings:
    from pytest_xattr import arguments
    from pytest_xattr.session import for_worker
    from xattr_check.battery.battery import run_of
    from xattr_check.battery.subjects import name_subjects

    session = config.pluginmanager.get_plugin("xattr-session")
    if session is not None:
        settings, run, subjects = session.battery.settings, session.battery.run, session.battery.subjects
    else:
        with _fail_on_mistakes():
            settings = for_worker(config, arguments.settings(config, []))
            with settings.placing_mistakes():
                run, subjects = run_of(settings), name_subjects(settings)
    return Surroundings(settings, run, {subject.label: subject for subject in subjects})


def _surroundings(config: pytest.Config) -> Surroundings:
    """Those of a session, read once."""
    if SURROUNDINGS not in config.stash:
        config.stash[SURROUNDINGS] = _read_surroundings(config)
    return config.stash[SURROUNDINGS]


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run a test that asks for the subject once for each, where there are several."""
    if "_xattr_label" not in metafunc.fixturenames:
        return
    labels: list[str] = []
    with suppress(pytest.fail.Exception):  # a mistake is told by the fixture
        labels = list(_surroundings(metafunc.config).subjects)
    if len(labels) > 1:
        metafunc.parametrize("_xattr_label", labels, scope="session", indirect=True)


@pytest.fixture(scope="session")
def _xattr_surroundings(pytestconfig: pytest.Config) -> Surroundings:
    return _surroundings(pytestconfig)


@pytest.fixture(scope="session")
def _xattr_label(request: pytest.FixtureRequest, _xattr_surroundings: Surroundings) -> str:
    """Which subject it is: that of the test's id, or the only one."""
    return str(getattr(request, "param", None) or next(iter(_xattr_surroundings.subjects)))


@pytest.fixture(scope="session")
def xattr_subject(_xattr_surroundings: Surroundings, _xattr_label: str) -> "Subject":
    """The subject of the command line or of xattr.yaml, on the device of the run; `digits` by default.

    A test that asks for it runs once for each where there are several. Override it in a conftest.py to judge
    on another one: `xattr_run` uses what it returns.
    """
    known = _xattr_surroundings
    with _fail_on_mistakes(), known.settings.placing_mistakes():
        subject = known.subjects[_xattr_label].on(known.run.device)
    known.labels[subject.name] = _xattr_label
    return subject


@pytest.fixture(scope="session")
def xattr_run(_xattr_surroundings: Surroundings, xattr_subject: "Subject") -> "Judge":
    """Judges a method against a check: `verdict = xattr_run(explain, "null_feature")`.

    Gates, claims, seed, budget and device are those of the command line and of xattr.yaml.
    """
    from xattr_check.battery.judge import Judge
    from xattr_check.config.loaders import load_subject

    known = _xattr_surroundings
    with _fail_on_mistakes():
        subject = load_subject(xattr_subject, "xattr_subject").to(known.run.device)
    settings = known.settings.on(known.labels.get(subject.name, subject.name))
    return Judge(settings, subject, known.run)
