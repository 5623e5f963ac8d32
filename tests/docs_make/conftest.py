"""The script that a file test_NAME.py of this folder is about."""

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
from scripts import imported


@pytest.fixture(scope="module")
def script(request: pytest.FixtureRequest) -> Iterator[ModuleType]:
    with imported("docs/make", Path(request.path)) as module:
        yield module
