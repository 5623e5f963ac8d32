"""The subjects that are trained at once: the same at every call, and better than chance."""

from types import ModuleType

import pytest
import torch


@pytest.mark.parametrize("name", ["cancer", "wine", "two_classes"])
def test_a_subject_is_the_same_at_every_call_and_knows_its_task(name: str, script: ModuleType) -> None:
    found, again = getattr(script, name)(), getattr(script, name)()
    assert found.fingerprint == again.fingerprint
    assert set(found.siblings) == {"shuffled_labels", "retrained"}
    with torch.inference_mode():
        right = found.model(found.inputs).argmax(1) == found.targets
    assert float(right.float().mean()) > 0.9


@pytest.mark.parametrize("build", ["Residuals", "Transformer", "convolutions"])
def test_networks_of_images_give_a_logit_for_each_digit(build: str, script: ModuleType) -> None:
    side = 16 if build == "Residuals" else 8
    assert getattr(script, build)()(torch.zeros(2, 1, side, side)).shape == (2, 10)
