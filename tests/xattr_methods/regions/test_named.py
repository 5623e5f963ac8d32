"""Methods of regions, by the names that these have."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from networks import Pooled, settled
from torch import Tensor, nn

import xattr_check
from xattr_check import Subject
from xattr_check.errors import Declined
from xattr_check.perturbation.regions import LUMINANCE
from xattr_methods import kernel_shap, lime, morris_sbsa, occlusion, sbsa, shapley, sobol_sbsa

METHODS = {one.name: one for one in (kernel_shap, lime, morris_sbsa, occlusion, sbsa, shapley, sobol_sbsa)}
FEW: dict[str, dict[str, Any]] = {
    "kernel_shap": {"samples": 64},
    "lime": {"samples": 40},
    "morris_sbsa": {"samples": 4},
    "sbsa": {"sensitivity": "shapley", "samples": 4},
    "sobol_sbsa": {"samples": 8},
}


@pytest.fixture
def subject() -> Subject:
    torch.manual_seed(0)
    mask = torch.zeros(3, 8, 8, dtype=torch.bool)
    mask[:, 2:5, 1:6] = True
    inputs = torch.randn(3, 3, 8, 8, dtype=torch.float64)
    return Subject("s", settled(Pooled()), inputs, torch.tensor([0, 2, 1]), truth={"mask": mask})


@pytest.mark.parametrize("spec", ["grid:2", "mask", "superpixels:4", "channels", "colour", "channels:2"])
def test_every_method_takes_regions_by_name(spec: str, subject: Subject) -> None:
    wrong = []
    shape = (3, 8, 8) if spec.startswith(("channels", "colour")) else (1, 8, 8)
    for name, method in METHODS.items():
        asked = method.with_parameters(name, {"regions": spec, **FEW.get(name, {})}).bind(subject)
        maps = asked(subject.model, subject.inputs, subject.targets)
        alone = asked(subject.model, subject.inputs[1:2], subject.targets[1:2])
        if maps.shape[1:] != shape or not torch.allclose(maps[1:2], alone, rtol=1e-8, atol=1e-10):
            wrong.append(name)
    assert wrong == []


class Linear(nn.Module):
    """A weighted sum of all numbers."""

    def __init__(self, weights: Tensor) -> None:
        super().__init__()
        self.weights = nn.Parameter(weights)

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.stack([(self.weights * inputs).flatten(1).sum(1)] * 2, 1)


def test_values_of_a_linear_model_are_what_each_region_adds() -> None:
    """Of overlapping regions too: luminance and chroma at all pixels, in the first channel and the others."""
    generator = torch.Generator().manual_seed(0)
    weights, inputs = (torch.randn(n, 3, 4, 4, generator=generator, dtype=torch.float64) for n in (1, 2))
    model, targets = Linear(weights[0]), torch.tensor([0, 1])
    light = (
        (torch.tensor(LUMINANCE, dtype=torch.float64)[:, None, None] * inputs)
        .sum(1, keepdim=True)
        .expand_as(inputs)
    )
    parts = torch.stack([(weights * part).flatten(1).sum(1) for part in (light, inputs - light)], 1)
    for method, given in ((shapley, {}), (sbsa, {"sensitivity": "shapley"})):
        maps = method(model, inputs, targets, regions="colour", **given)
        found = torch.stack([maps[:, :1].flatten(1).sum(1), maps[:, 1:].flatten(1).sum(1)], 1)
        torch.testing.assert_close(found, parts.detach(), rtol=1e-9, atol=1e-10)
        maps = method(model, inputs, targets, regions="channels", **given)
        torch.testing.assert_close(
            maps.sum((2, 3)), (weights * inputs).sum((2, 3)).detach(), rtol=1e-9, atol=1e-10
        )


def test_a_mask_is_the_subjects(subject: Subject) -> None:
    """The value of the object is spread over it, that of the rest over the rest."""
    given = (subject.model, subject.inputs, subject.targets)
    maps = shapley(*given, regions="mask", subject=subject)
    ids = subject.truth["mask"].flatten(0, 1).long()
    assert torch.equal(maps, shapley(*given, regions=ids))
    with pytest.raises(
        Declined, match=r"^shapley: expected a subject whose truth has a mask for regions 'mask'"
    ):
        shapley(*given, regions="mask")
    none = replace(subject, truth={})
    with pytest.raises(Declined, match=r"^lime: expected a subject whose truth has a mask"):
        lime(*given, regions="mask", subject=none)


def test_names_are_reached_from_the_command_line(subject: Subject) -> None:
    method = xattr_check.load_method("xattr:sbsa?sensitivity=lime&regions=superpixels:4&samples=20")
    maps = method.bind(subject)(subject.model, subject.inputs, subject.targets)
    given = {"sensitivity": "lime", "regions": "superpixels:4", "samples": 20}
    assert torch.equal(maps, sbsa(subject.model, subject.inputs, subject.targets, **given))
    with pytest.raises(ValueError, match=r"^sbsa: expected regions 'grid:NUMBER', came 'grid:many'"):
        sbsa(subject.model, subject.inputs, subject.targets, regions="grid:many")


def test_groups_of_tokens_of_a_subject() -> None:
    reviews = xattr_check.load_subject("reviews")
    inputs, targets = reviews.inputs[:2], reviews.targets[:2]
    asked = sbsa.with_parameters("sbsa", {"regions": "tokens:4", "samples": 4}).bind(reviews)
    maps = asked(reviews.model, inputs, targets)
    assert maps.shape == (2, *reviews.layout.map_shape)
    assert len(maps[0].unique()) <= 5  # and none on padding
