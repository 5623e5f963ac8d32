"""One subject and one run for each seed, so that controls and maps are computed once."""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from judging import shared_folder
from subjects import images

from xattr_check import Store, Subject, load_subject
from xattr_check.core.run import Run

Setting = tuple[Subject, Run]


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # networks this small spend their time on waking threads


@pytest.fixture(scope="session")
def setting(tmp_path_factory: pytest.TempPathFactory) -> Callable[[int], Setting]:
    """The tiny image subject and a run, by seed."""
    folder = tmp_path_factory.mktemp("store")
    return cache(lambda seed: (images(seed=seed), Run(store=Store(folder), seed=seed)))


@pytest.fixture(scope="session")
def digits() -> Subject:
    return load_subject("digits")


@pytest.fixture(scope="session")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """What all tests on the digits, and all workers, share."""
    return Store(shared_folder(tmp_path_factory))


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with an empty store."""
    return Run(store=Store(tmp_path))
