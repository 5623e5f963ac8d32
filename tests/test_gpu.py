"""The same code on a CUDA device."""

from pathlib import Path

import pytest

import xattr_check

pytestmark = pytest.mark.gpu


@pytest.mark.parametrize("method", ["xattr:gradient", "xattr:gradcam", "xattr:occlusion"])
def test_a_gpu_gives_the_verdicts_of_a_cpu(method: str, tmp_path: Path) -> None:
    cpu, gpu = (
        xattr_check.run_battery(method, device=device, storage=tmp_path) for device in ("cpu", "cuda")
    )
    assert [verdict.status for verdict in gpu] == [verdict.status for verdict in cpu]
    for one, other in zip(cpu, gpu, strict=True):
        if one.interval is not None and one.family != "contract":
            assert other.interval.value == pytest.approx(one.interval.value, abs=0.01), one.check
