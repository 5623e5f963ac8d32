"""Of conftests and plugins that ask every item for what a test function has."""

import os
import subprocess
import sys
from collections.abc import Callable
from importlib.util import find_spec

import pytest

Run = Callable[..., pytest.RunResult]

NOSY = """
import inspect
import pytest

def pytest_collection_modifyitems(items):
    for item in items:
        assert item.function.__doc__ == item.obj.__doc__
        assert item.function.__name__ == item.originalname == item.name.partition("[")[0]
        assert item.function.__globals__ and item.function.__code__.co_firstlineno
        assert not inspect.signature(item.function).parameters
        assert not inspect.iscoroutinefunction(item.function)
        assert item.module.__name__ == item.function.__module__
        assert inspect.getfile(item.module)
        assert item.cls is None and item.instance is None
        assert "db" not in item.fixturenames
        assert not hasattr(item, "callspec")
        assert getattr(getattr(item, "callspec", None), "params", {}) == {}
        assert item.get_closest_marker("slow") is None and not list(item.iter_markers())
        if "contract" in item.listextrakeywords() or item.name == "fits":
            item.add_marker(pytest.mark.slow)
        item.function.seen = item.obj.__dict__.get("seen", 0) + 1
        assert item.function.seen == 1
        assert (item.parent.obj.__doc__ or item.parent.obj.__class__.__name__)
        assert item.fspath and item.path and item.location and item.reportinfo()
    items.sort(key=lambda item: (item.module.__name__, str(item.cls), item.function.__name__))

@pytest.fixture(autouse=True)
def reads_its_test(request):
    assert request.function.__name__ == request.node.originalname
    yield

@pytest.fixture(autouse=True, scope="session")
def of_the_session():
    yield

def pytest_runtest_setup(item):
    if "db" in item.fixturenames or item.get_closest_marker("django_db"):
        pytest.skip("no data base")
    assert item.funcargs is not None

@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    report = yield
    report.description = str(item.function.__doc__)
    report.nodes = [node.name for node in item.listchain()]
    return report

def pytest_runtest_teardown(item, nextitem):
    assert nextitem is None or nextitem.module.__name__
"""
TESTS = '''
def test_own():
    """A test of the user's own."""
'''


def test_a_conftest_may_ask_for_what_a_test_function_has(folder: pytest.Pytester, judge: Run) -> None:
    folder.makeconftest(NOSY)
    folder.makeini("[pytest]\nmarkers =\n    slow: takes long\n")
    folder.makepyfile(test_own=TESTS)
    result = judge("test_own.py", "--xattr-checks=fits or follows")
    result.assert_outcomes(passed=3)
    result = judge("test_own.py", "--xattr-checks=fits or follows", "-m", "slow")
    result.assert_outcomes(passed=1, deselected=2)


def test_the_stand_in_says_what_is_checked(folder: pytest.Pytester, judge: Run) -> None:
    result = judge("--collect-only", "-v", "--xattr-checks=follows")
    result.stdout.fnmatch_lines(["*Maps point where the gradient points.*"])


def test_a_second_try_replaces_what_the_first_said(folder: pytest.Pytester, judge: Run) -> None:
    folder.makeconftest(
        "from _pytest.runner import runtestprotocol\n"
        "def pytest_runtest_protocol(item, nextitem):\n"
        "    runtestprotocol(item, log=False, nextitem=nextitem)\n"
    )
    judge("--junitxml=out.xml", "--xattr-checks=fits")
    assert (folder.path / "out.xml").read_text().count('<property name="status"') == 1


PLUGINS = {
    "pytest_timeout": ["--timeout=60", "--timeout-method=signal"],
    "pytest_randomly": [],
    "pytest_rerunfailures": ["--reruns=1"],
    "pytest_asyncio": [],
    "allure_pytest": ["--alluredir=allure"],
}


@pytest.mark.slow
@pytest.mark.parametrize("plugin", PLUGINS)
def test_beside_other_plugins(real_folder: pytest.Pytester, plugin: str) -> None:
    """Where they are installed."""
    if find_spec(plugin) is None:
        pytest.skip(f"{plugin} is not installed")
    command = [sys.executable, "-m", "pytest", "--xattr-method=mymod:good", "--xattr-method=mymod:always"]
    options = ["--xattr-subject=mymod:columns", "--xattr-checks=shape or finite", *PLUGINS[plugin]]
    environment = {**os.environ, "PYTEST_ADDOPTS": ""}
    ended = subprocess.run([*command, *options], env=environment, capture_output=True, text=True, check=False)
    assert "INTERNALERROR" not in ended.stdout + ended.stderr
    assert ended.returncode == 1, ended.stdout
    assert "2 failed, 2 passed" in ended.stdout, ended.stdout
