"""How far methods agree: against SciPy, and what is left out."""

from pathlib import Path

import pytest
import torch
from scipy.stats import spearmanr
from subjects import images
from topics import topics
from torch import Tensor, nn

import xattr_check
from xattr_check import UsageError, disagreement
from xattr_check.config.settings import Settings
from xattr_check.storage.digest import derive_seed

NAMES = ["xattr:input_x_gradient", "xattr:gradient", "xattr:random"]


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings().override(storage=str(tmp_path), device="cpu")


def raising(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    raise ValueError("never")


def test_rank_correlations_by_scipy(settings: Settings) -> None:
    subject = images()
    found = disagreement(NAMES, subject, inputs=5, settings=settings)
    assert found.methods == tuple(NAMES)
    assert found.correlations.shape == (3, 3, 5)
    torch.testing.assert_close(found.mean, found.mean.T)
    torch.testing.assert_close(found.mean.diagonal(), torch.ones(3).double())
    order = torch.randperm(12, generator=torch.Generator().manual_seed(derive_seed("order", 0)))[:5]
    for place, row in enumerate(order):
        one, other = (
            xattr_check.methods()[name](
                subject.model, subject.inputs[row : row + 1], subject.targets[row : row + 1]
            )
            for name in ("input_x_gradient", "gradient")
        )
        # A gradient is a sensitivity, of which magnitudes are ranked.
        ranked = one.sum(1).flatten(), other.abs().sum(1).flatten()
        wanted = spearmanr(*[values.double().numpy() for values in ranked]).statistic
        assert float(found.correlations[0, 1, place]) == pytest.approx(wanted, abs=1e-4)


def test_what_has_no_maps_is_left_out(settings: Settings) -> None:
    found = disagreement([raising, "xattr:oracle", *NAMES], images(), inputs=3, settings=settings)
    assert found.methods == tuple(NAMES)
    assert list(found.left_out) == ["raising", "xattr:oracle"]
    assert "never" in found.left_out["raising"]
    assert found.left_out["xattr:oracle"] == "needs mask, which 'images' does not offer"
    none = disagreement([raising], images(), inputs=3, settings=settings)
    assert none.correlations.shape == (0, 0, 3)
    with pytest.raises(UsageError):
        disagreement(["xattr:nothing"], images(), settings=settings)


def test_one_method_may_stand_alone_and_one_input_has_to_be_there(settings: Settings) -> None:
    assert disagreement("xattr:gradient", images(), inputs=1, settings=settings).methods == (
        "xattr:gradient",
    )
    for inputs in (0, -1):
        with pytest.raises(UsageError, match=f"inputs={inputs}: expected at least 1"):
            disagreement(NAMES, images(), inputs=inputs, settings=settings)


def test_padding_is_no_agreement(settings: Settings) -> None:
    """Two maps of noise have the same zeros on what fills texts up."""
    found = disagreement(["xattr:random?seed=1", "xattr:random?seed=2"], topics(), settings=settings)
    assert abs(float(found.mean[0, 1])) < 0.1
