"""Fixtures of a user's own tests: what to judge on, and something to judge with."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from xattr_check.battery.judge import Judge
    from xattr_check.config.settings import Settings
    from xattr_check.core.run import Run
    from xattr_check.core.subject import Subject


@contextmanager
def _fail_on_mistakes() -> Iterator[None]:
    """A mistake as one sentence, without the frames of the library."""
    from xattr_check.errors import UsageError

    try:
        yield
    except UsageError as error:
        pytest.fail(str(error), pytrace=False)


@pytest.fixture(scope="session")
def _xattr_settings(pytestconfig: pytest.Config) -> "tuple[Settings, Run]":
    """The settings of the command line and of xattr.yaml, and a run: that of the battery, if there is one."""
    battery = _battery(pytestconfig)
    if battery is not None:
        return battery.settings, battery.run
    from pytest_xattr import arguments
    from pytest_xattr.session import for_worker
    from xattr_check.battery.battery import run_of

    with _fail_on_mistakes():
        settings = for_worker(pytestconfig, arguments.settings(pytestconfig, []))
        with settings.placing_mistakes():
            return settings, run_of(settings)


@pytest.fixture(scope="session")
def xattr_subject(pytestconfig: pytest.Config, _xattr_settings: "tuple[Settings, Run]") -> "Subject":
    """The subject of the command line or of xattr.yaml, on the device of the run; `digits` by default.

    Override it in a conftest.py to judge on another one: `xattr_run` uses what it returns.
    """
    from xattr_check.battery.battery import subject_of

    battery, (settings, run) = _battery(pytestconfig), _xattr_settings
    with _fail_on_mistakes():
        if battery is not None:
            subject: Subject = battery.subject
            return subject
        with settings.placing_mistakes():
            return subject_of(settings).to(run.device)


@pytest.fixture(scope="session")
def xattr_run(_xattr_settings: "tuple[Settings, Run]", xattr_subject: "Subject") -> "Judge":
    """Judges a method against a check: `verdict = xattr_run(explain, "null_feature")`.

    Gates, claims, seed, budget and device are those of the command line and of xattr.yaml.
    """
    from xattr_check.battery.judge import Judge
    from xattr_check.config.loaders import load_subject

    settings, run = _xattr_settings
    with _fail_on_mistakes():
        return Judge(settings, load_subject(xattr_subject, "xattr_subject").to(run.device), run)


def _battery(config: pytest.Config) -> Any:
    """The battery beside the tests, or None."""
    session = config.pluginmanager.get_plugin("xattr-session")
    return None if session is None else session.battery
