"""The subjects whose data are the user's: what can be said of them without the data."""

import runpy
from pathlib import Path

import pytest
import torch

from xattr_check import UsageError, load_subject

FILE = Path(__file__).parents[2] / "benchmarks" / "subjects.py"


@pytest.mark.parametrize("name", ["resnet20", "mobilenet_v2"])
def test_says_which_data_are_expected(name: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("XATTR_DATA", raising=False)
    with pytest.raises(UsageError, match=r"expected the folder .* pass \?data=FOLDER or set XATTR_DATA"):
        load_subject(f"{FILE}:{name}")
    with pytest.raises(UsageError, match="it is not there"):
        load_subject(f"{FILE}:{name}?data={tmp_path}")


def test_resnet20_is_that_of_the_paper() -> None:
    model = runpy.run_path(str(FILE))["ResNet20"]().eval()
    # He et al. 2016, Table 6: 0.27 million parameters, 20 layers.
    assert sum(parameter.numel() for parameter in model.parameters()) == 269_722
    layers = [m for m in model.modules() if isinstance(m, (torch.nn.Conv2d, torch.nn.Linear))]
    assert len(layers) == 20
    assert model(torch.zeros(2, 3, 32, 32)).shape == (2, 10)


def test_noise_is_clipped_to_what_pixels_can_be() -> None:
    module = runpy.run_path(str(FILE))
    values = module["_noise"](32)(64, torch.Generator().manual_seed(0))
    low, high = (module[name][:, None, None] for name in ("LOW", "HIGH"))
    assert values.shape == (64, 3, 32, 32)
    assert (values >= low).all()
    assert (values <= high).all()
    pixels = (values - low) / (high - low)
    assert float(pixels.mean()) == pytest.approx(0.5, abs=0.01)
    assert float(pixels.std()) == pytest.approx(0.1, abs=0.01)
