"""saliency:NAME against the library itself, and against our own methods."""

import numpy as np
import pytest
import torch
from torch import nn

from xattr_adapters.saliency import adapter
from xattr_check import UsageError, load_method
from xattr_methods import gradcam, gradient, integrated_gradients

saliency = pytest.importorskip("saliency.core")
GUIDED = "GuidedIG needs numpy < 2.4"


def made(name, layer=None, **parameters):
    return adapter(name, layer).with_parameters("made", parameters)


def quantile_knows_interpolation() -> bool:
    try:
        np.quantile([0.0], 0.5, interpolation="lower")
    except TypeError:
        return False
    return True


@pytest.mark.parametrize(
    ("name", "layer", "parameters"),
    [
        ("GradientSaliency", None, {}),
        ("GradientSaliency", None, {"smoothed": True, "nsamples": 3, "magnitude": False}),
        ("IntegratedGradients", None, {"x_steps": 5}),
        ("BlurIG", None, {"steps": 5, "max_sigma": 2}),
        ("XRAI", None, {"steps": 2, "algorithm": "fast"}),
        ("Occlusion", None, {"size": 3}),
        ("GradCam", "second", {}),
    ],
)
def test_every_mask_leaves_the_model_alone_and_knows_no_batch(
    images, careful, name, layer, parameters
) -> None:
    model, inputs, targets = images
    few = 1 if name == "XRAI" else 3
    careful(made(name, layer, **parameters), model, inputs[:few], targets[:few])


def test_gradients_are_ours(exact_images, columns) -> None:
    for given in (exact_images, columns):
        found = made("GradientSaliency")(*given)
        torch.testing.assert_close(found, gradient(*given), rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("memory", [1, 2**28])
def test_integrated_gradients_are_ours(exact_images, memory: int) -> None:
    model, inputs, targets = exact_images
    found = made("IntegratedGradients", x_steps=400, memory=memory)(model, inputs, targets)
    ours = integrated_gradients(model, inputs, targets, steps=400)
    # The library sums in float32, and weighs the end points fully.
    torch.testing.assert_close(found, ours, rtol=0.05, atol=2e-3)
    baseline = made("IntegratedGradients", x_steps=400, x_baseline=0.5)(model, inputs, targets)
    ours = integrated_gradients(model, inputs, targets, steps=400, baseline=0.5)
    torch.testing.assert_close(baseline, ours, rtol=0.05, atol=2e-3)


def test_gradcam_is_ours_but_for_scale_and_the_way_it_is_enlarged(images) -> None:
    model, inputs, targets = images
    found = made("GradCam", "second")(model, inputs, targets)
    ours = gradcam(model, inputs, targets, layer="second")
    seen = ours.flatten(1).amax(1) > 0
    assert bool(seen.any())
    together = torch.stack([found[seen].flatten(), ours[seen].flatten()])
    assert float(torch.corrcoef(together)[0, 1]) > 0.8


def test_occlusion_is_the_sum_of_the_drops(exact_images) -> None:
    model, inputs, targets = exact_images
    found = made("Occlusion", size=8)(model, inputs[:1], targets[:1])
    with torch.no_grad():
        drop = model(inputs[:1]) - model(torch.zeros_like(inputs[:1]))
    torch.testing.assert_close(found, drop[0, targets[0]].expand_as(found), rtol=1e-5, atol=1e-7)


def test_guided_ig_works_or_says_what_it_needs(columns) -> None:
    method = made("GuidedIG", x_steps=10)
    if quantile_knows_interpolation():
        assert method(*columns).shape == columns[1].shape
    else:
        with pytest.raises(ValueError, match=r"saliency:GuidedIG: this version .*pip install 'numpy<2.4'"):
            method(*columns)


def test_masks_of_ones_own(columns) -> None:
    for given in (saliency.GradientSaliency, saliency.GradientSaliency()):
        torch.testing.assert_close(load_method(given)(*columns), gradient(*columns))


def test_what_cannot_be_is_refused(columns) -> None:
    with pytest.raises(UsageError, match="saliency has no method 'Xrai'"):
        adapter("Xrai", None)
    with pytest.raises(UsageError, match="saliency:GradCam explains a layer; name it"):
        adapter("GradCam", None)
    with pytest.raises(UsageError, match="saliency:XRAI explains the input and has no layer"):
        adapter("XRAI", "second")
    with pytest.raises(ValueError, match="saliency:XRAI: expected images"):
        made("XRAI")(*columns)


def test_a_model_without_gradients_is_refused_by_what_needs_them(images) -> None:
    class Hard(nn.Module):
        def forward(self, inputs):
            return (inputs.flatten(1)[:, :4] > 0).to(inputs)

    _, inputs, targets = images
    with pytest.raises(ValueError, match=r"whose logits have a gradient.*saliency:Occlusion needs none"):
        made("GradientSaliency")(Hard(), inputs, targets)
    assert made("Occlusion", size=8)(Hard(), inputs, targets).shape == inputs.shape


def test_a_model_that_raises_is_left_alone(raising) -> None:
    raising(made("GradientSaliency"))
    raising(made("GradCam", "second"))
