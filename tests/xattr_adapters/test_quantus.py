"""Functions that are written for Quantus, and Quantus's own."""

import pytest
import torch

from xattr_check import load_method
from xattr_methods import gradient

quantus = pytest.importorskip("quantus")
pytest.importorskip("captum")
pytestmark = pytest.mark.filterwarnings("ignore")


def test_the_explain_function_of_quantus(images) -> None:
    found = load_method("quantus:explain?method=Saliency&keepdims=true&reduce_axes=[]")
    maps = found(*images)
    assert maps.dtype == torch.float32
    torch.testing.assert_close(maps, gradient(*images).abs(), rtol=1e-4, atol=1e-7)
