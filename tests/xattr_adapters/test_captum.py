"""captum:NAME against captum itself, and against our own methods."""

import copy

import pytest
import torch
from torch import nn

from xattr_adapters._shared import twin
from xattr_adapters.captum import adapter, rebound
from xattr_check import UsageError, load_method
from xattr_methods import (
    gradcam,
    gradient,
    guided_backprop,
    input_x_gradient,
    integrated_gradients,
    occlusion,
)

attr = pytest.importorskip("captum.attr")
pytestmark = pytest.mark.filterwarnings("ignore")


def made(name, layer=None, **parameters):
    found = adapter(name, layer)
    return found.with_parameters("made", parameters)


@pytest.mark.parametrize(
    ("name", "layer", "parameters"),
    [
        ("IntegratedGradients", None, {"n_steps": 8}),
        ("Saliency", None, {}),
        ("InputXGradient", None, {}),
        ("GuidedBackprop", None, {}),
        ("Deconvolution", None, {}),
        ("DeepLift", None, {}),
        ("DeepLiftShap", None, {}),
        ("GradientShap", None, {"n_samples": 3, "stdevs": 0.1}),
        ("LRP", None, {}),
        ("FeatureAblation", None, {"feature_mask": 4}),
        ("Occlusion", None, {}),
        ("ShapleyValueSampling", None, {"feature_mask": 2, "n_samples": 3}),
        ("KernelShap", None, {"feature_mask": 2, "n_samples": 20}),
        ("Lime", None, {"feature_mask": 2, "n_samples": 20}),
        ("NoiseTunnel", None, {"nt_samples": 3}),
        ("NoiseTunnel", "second", {"nt_samples": 3, "attribution_method": "LayerGradCam"}),
        ("GuidedGradCam", "second", {}),
        ("LayerGradCam", "second", {}),
        ("LayerActivation", "second", {}),
        ("LayerConductance", "second", {"n_steps": 5}),
        ("InternalInfluence", "second", {"n_steps": 5}),
        ("LayerGradientXActivation", "second", {}),
        ("LayerIntegratedGradients", "second", {"n_steps": 5}),
        ("LayerDeepLift", "second", {}),
        ("LayerGradientShap", "second", {"n_samples": 3}),
    ],
)
def test_every_class_leaves_the_model_alone_and_knows_no_batch(
    images, careful, name, layer, parameters
) -> None:
    careful(made(name, layer, **parameters), *images, tolerance=1e-3)


@pytest.mark.parametrize("name", ["IntegratedGradients", "DeepLift", "InputXGradient", "FeatureAblation"])
def test_maps_are_those_of_the_library(exact_images, name: str) -> None:
    model, inputs, targets = exact_images
    ours = made(name)(model, inputs, targets)
    theirs = getattr(attr, name)(twin(model)).attribute(inputs, target=targets).detach()
    torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_parameters_reach_the_constructor_and_the_call(columns) -> None:
    model, inputs, targets = columns
    ours = made("IntegratedGradients", multiply_by_inputs=False, n_steps=3, baselines=0.5)
    theirs = attr.IntegratedGradients(model, multiply_by_inputs=False)
    wanted = theirs.attribute(inputs, target=targets, n_steps=3, baselines=0.5)
    torch.testing.assert_close(ours(model, inputs, targets), wanted.detach(), rtol=1e-6, atol=1e-8)


def test_gradients_are_ours(exact_images) -> None:
    model, inputs, targets = exact_images
    pairs = [
        (made("Saliency"), gradient(model, inputs, targets).abs()),
        (made("Saliency", abs=False), gradient(model, inputs, targets)),
        (made("InputXGradient"), input_x_gradient(model, inputs, targets)),
        (made("GuidedBackprop"), guided_backprop(model, inputs, targets)),
    ]
    for method, ours in pairs:
        torch.testing.assert_close(method(model, inputs, targets), ours, rtol=1e-10, atol=1e-12)


def test_integrated_gradients_are_ours(exact_images) -> None:
    model, inputs, targets = exact_images
    theirs = made("IntegratedGradients", n_steps=20)(model, inputs, targets)
    ours = integrated_gradients(model, inputs, targets, steps=20, quadrature="gauss_legendre")
    # captum keeps the nodes and weights of the quadrature in float32.
    torch.testing.assert_close(theirs, ours, rtol=1e-4, atol=1e-6)


def test_gradcam_is_ours(exact_images) -> None:
    model, inputs, targets = exact_images
    theirs = made("LayerGradCam", "second", relu_attributions=True)(model, inputs, targets)
    torch.testing.assert_close(theirs, gradcam(model, inputs, targets, layer="second"), rtol=1e-9, atol=1e-12)


def test_occlusion_of_single_pixels_is_ours(exact_images) -> None:
    model, inputs, targets = exact_images
    theirs = made("Occlusion", sliding_window_shapes=1)(model, inputs, targets)
    ours = occlusion(model, inputs, targets, window=1, stride=1)
    # captum divides by weights in float32.
    torch.testing.assert_close(theirs, ours.expand_as(theirs), rtol=1e-6, atol=1e-8)


def test_default_windows_fit_columns_and_tokens(columns) -> None:
    model, inputs, targets = columns
    ours = occlusion(model, inputs, targets)
    torch.testing.assert_close(made("Occlusion")(model, inputs, targets), ours, rtol=1e-6, atol=1e-8)
    tokens = nn.Sequential(nn.Flatten(), nn.Linear(12, 3)).double()
    given = torch.randn(2, 3, 4, dtype=torch.float64)
    found = made("Occlusion")(tokens, given, targets[:2])
    wanted = occlusion(tokens, given, targets[:2]).expand_as(given)
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-8)


def test_the_memory_of_a_chunk_changes_nothing(exact_images) -> None:
    model, inputs, targets = exact_images
    for name in ("IntegratedGradients", "FeatureAblation"):
        whole = made(name)(model, inputs, targets)
        torch.testing.assert_close(made(name, memory=1)(model, inputs, targets), whole, rtol=1e-9, atol=1e-12)


def test_a_seed_is_a_draw(columns) -> None:
    model, inputs, targets = columns
    one, again, other = (
        made("GradientShap", stdevs=0.1, seed=seed)(model, inputs, targets) for seed in (0, 0, 1)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


INSTANCES = {
    "plain": lambda model: attr.IntegratedGradients(model),
    "forward": lambda model: attr.Saliency(model.forward),
    "of a model": lambda model: attr.DeepLift(model),
    "layer": lambda model: attr.LayerGradCam(model, model.second),
    "nested layer": lambda model: attr.GuidedGradCam(model, model.second),
    "wrapped": lambda model: attr.NoiseTunnel(attr.LayerIntegratedGradients(model, model.second)),
    "sampled": lambda model: attr.KernelShap(model),
}


@pytest.mark.parametrize("kind", INSTANCES)
def test_an_instance_explains_the_model_that_is_given(images, careful, kind: str) -> None:
    model, inputs, targets = images
    other = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.copy_(torch.randn_like(parameter) / 3)
    bound_to_model, bound_to_other = (load_method(INSTANCES[kind](one)) for one in (model, other))
    for given in (model, other):
        maps = careful(bound_to_model, given, inputs, targets, tolerance=1e-3)
        torch.testing.assert_close(bound_to_other(given, inputs, targets), maps)
    assert not torch.allclose(bound_to_model(model, inputs, targets), bound_to_model(other, inputs, targets))


def test_rebinding_leaves_the_instance_as_it_was(images) -> None:
    model, _, _ = images
    instance = attr.NoiseTunnel(attr.LayerGradCam(model, model.second))
    copied = twin(model)
    found = rebound(instance, model, copied)
    assert found.attribution_method.layer is copied.second
    assert found.attribution_method.forward_func is copied
    assert instance.attribution_method.layer is model.second
    assert instance.attribution_method.forward_func is model


def test_an_instance_takes_parameters(columns, monkeypatch, tmp_path) -> None:
    model, inputs, targets = columns
    (tmp_path / "bound_instance.py").write_text(
        "import torch\nfrom captum.attr import IntegratedGradients\n"
        "ig = IntegratedGradients(torch.nn.Linear(5, 3))\nKind = IntegratedGradients\n"
    )
    monkeypatch.chdir(tmp_path)
    wanted = made("IntegratedGradients", n_steps=3)(model, inputs, targets)
    for spec in ("bound_instance:ig?n_steps=3", "bound_instance:Kind?n_steps=3"):
        torch.testing.assert_close(load_method(spec)(model, inputs, targets), wanted)


def test_an_instance_bound_to_a_function_is_refused(images) -> None:
    model, _, _ = images
    bound = attr.Saliency(lambda inputs: model(inputs).softmax(1))
    with pytest.raises(UsageError, match=r"this Saliency is bound to function .* give the class, captum:Sal"):
        load_method(bound)


def test_an_instance_for_another_architecture_says_so(images, columns) -> None:
    model, _, _ = images
    method = load_method(attr.LayerGradCam(model, model.second))
    with pytest.raises(ValueError, match=r"layer='second': expected a module of the model"):
        method(*columns)


def test_a_class_derived_from_one_is_one(columns) -> None:
    class Halved(attr.InputXGradient):
        def attribute(self, *arguments, **keywords):
            return super().attribute(*arguments, **keywords) / 2

    found = load_method(Halved)(*columns)
    torch.testing.assert_close(2 * found, input_x_gradient(*columns))


@pytest.mark.parametrize(
    ("name", "layer", "message"),
    [
        ("Salincy", None, "captum has no method 'Salincy'; the nearest are Saliency"),
        ("LayerGradCam", None, "captum:LayerGradCam explains a layer; name it, for example captum:Lay"),
        ("Saliency", "second", "captum:Saliency explains the input and has no layer, came @second"),
        ("FeaturePermutation", None, "captum's FeaturePermutation swaps features between inputs"),
        ("NeuronGradient", "second", "captum's NeuronGradient explains a neuron of a layer and not"),
        ("LimeBase", None, "captum's LimeBase needs functions that a spec cannot give"),
        ("DataLoaderAttribution", None, "captum's DataLoaderAttribution explains a set of data"),
    ],
)
def test_what_cannot_be_is_refused(name, layer, message) -> None:
    with pytest.raises(UsageError) as told:
        adapter(name, layer)
    assert str(told.value).startswith(message)


def test_a_layer_that_is_not_there_or_does_not_fit(images) -> None:
    with pytest.raises(ValueError, match="layer='third': expected a module of the model"):
        made("LayerGradCam", "third")(*images)
    with pytest.raises(ValueError, match="expected a layer whose output is laid out as the input"):
        made("LayerActivation", "classifier")(*images)


def test_a_model_that_raises_is_left_alone(images, raising) -> None:
    raising(made("DeepLift"))
    raising(made("LayerGradCam", "second"))
