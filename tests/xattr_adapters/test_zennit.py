"""zennit:COMPOSITE against zennit itself, and against our own methods."""

import pytest
import torch
from torch import nn

from xattr_adapters._shared import twin
from xattr_adapters.zennit import adapter
from xattr_check import UsageError, load_method
from xattr_methods import deconvnet, guided_backprop, lrp

composites = pytest.importorskip("zennit.composites")
NAMES = sorted(composites.COMPOSITES)


def made(name, **parameters):
    return adapter(name, None).with_parameters("made", parameters)


@pytest.mark.parametrize("name", NAMES)
def test_every_composite_leaves_the_model_alone_and_knows_no_batch(images, careful, name: str) -> None:
    careful(made(name), *images)


def test_maps_are_those_of_the_library(exact_images) -> None:
    from zennit.attribution import Gradient
    from zennit.canonizers import SequentialMergeBatchNorm

    model, inputs, targets = exact_images
    composite = composites.EpsilonPlusFlat(canonizers=[SequentialMergeBatchNorm()])
    with Gradient(twin(model), composite) as attributor:
        _, theirs = attributor(inputs, torch.eye(4, dtype=torch.float64)[targets])
    found = made("EpsilonPlusFlat", start="one")(model, inputs, targets)
    torch.testing.assert_close(found, theirs, rtol=1e-10, atol=1e-12)


def test_relevance_starts_from_the_logit(exact_images) -> None:
    model, inputs, targets = exact_images
    one, logit = (made("EpsilonPlus", start=start)(model, inputs, targets) for start in ("one", "logit"))
    logits = model(inputs).gather(1, targets[:, None])[:, :, None, None].detach()
    torch.testing.assert_close(one * logits, logit)
    with pytest.raises(ValueError, match="expected start=logit or one, came 'two'"):
        made("EpsilonPlus", start="two")(model, inputs, targets)


def test_epsilon_and_plus_are_ours(columns, exact_images) -> None:
    _, given, targets = columns
    rectified = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 3)).double().eval()
    found = made("EpsilonPlus")(rectified, given, targets)
    torch.testing.assert_close(found, lrp(rectified, given, targets), rtol=1e-5, atol=1e-8)
    model, inputs, targets = exact_images
    # Not quite: to zennit the global average, a function here, is no pool, and its rules are stabilised.
    found = made("EpsilonPlus")(model, inputs, targets)
    assert torch.corrcoef(torch.stack([found.flatten(), lrp(model, inputs, targets).flatten()]))[0, 1] > 0.5


def test_gradients_through_rectifiers_are_ours(exact_images) -> None:
    for name, ours in (("GuidedBackprop", guided_backprop), ("DeconvNet", deconvnet)):
        torch.testing.assert_close(
            made(name, canonize=False)(*exact_images), ours(*exact_images), rtol=1e-9, atol=1e-12
        )


def test_batch_norm_is_merged_unless_it_is_told_not_to_be(exact_images) -> None:
    assert not torch.allclose(
        made("EpsilonPlus")(*exact_images), made("EpsilonPlus", canonize=False)(*exact_images)
    )


def test_sums_of_residual_networks_become_modules(careful) -> None:
    from torchvision.models.resnet import BasicBlock

    torch.manual_seed(0)
    model = nn.Sequential(BasicBlock(3, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(3, 4)).eval()
    inputs, targets = torch.randn(2, 3, 8, 8), torch.tensor([1, 3])
    found = careful(made("EpsilonPlus"), model, inputs, targets)
    assert not torch.allclose(found, made("EpsilonPlus", canonize=False)(model, inputs, targets))


def test_the_box_is_the_range_of_each_input_unless_it_is_given(images) -> None:
    model, inputs, targets = images
    low, high = float(inputs[0].min()), float(inputs[0].max())
    given = made("EpsilonGammaBox", low=low, high=high)(model, inputs[:1], targets[:1])
    torch.testing.assert_close(
        made("EpsilonGammaBox")(model, inputs, targets)[:1], given, rtol=1e-4, atol=1e-7
    )


def test_a_composite_of_ones_own(images, careful) -> None:
    found = careful(load_method(composites.EpsilonPlus()), *images)
    torch.testing.assert_close(found, made("EpsilonPlus", canonize=False)(*images))
    torch.testing.assert_close(load_method(composites.EpsilonPlus)(*images), made("EpsilonPlus")(*images))


def test_what_cannot_be_is_refused(images) -> None:
    from zennit.attribution import Gradient

    with pytest.raises(UsageError, match="zennit has no method 'EpsilonPluss'; the nearest are EpsilonPlus"):
        adapter("EpsilonPluss", None)
    with pytest.raises(UsageError, match="zennit:EpsilonPlus explains the input and has no layer"):
        adapter("EpsilonPlus", "second")
    with pytest.raises(UsageError, match="expected a composite of zennit, came Gradient"):
        load_method(Gradient(images[0]))


def test_a_model_that_raises_is_left_alone(raising) -> None:
    raising(made("EpsilonPlus"))
