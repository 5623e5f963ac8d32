"""Accelerators that a machine has not."""

import pytest
import torch


def accelerators(monkeypatch: pytest.MonkeyPatch, kind: str, count: int) -> None:
    """Let torch see so many accelerators of a kind, `cuda`, `xpu` or `mps`, until the test is over."""
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda: torch.device(kind))
    monkeypatch.setattr(torch.accelerator, "is_available", lambda: count > 0)
    monkeypatch.setattr(torch.accelerator, "device_count", lambda: count)
