"""Of the engine's tests."""

from pathlib import Path

import pytest
import torch

from xattr_check import Store
from xattr_check.core.run import Run


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)  # networks this small spend their time on waking threads


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with an empty store."""
    return Run(store=Store(tmp_path / "store"))
