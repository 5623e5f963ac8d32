"""shap:NAME against shap itself, and against our own methods."""

import pytest
import torch
from torch import nn

from xattr_adapters._shared import twin
from xattr_adapters.shap import adapter
from xattr_check import UsageError, load_method
from xattr_methods import integrated_gradients, shapley

shap = pytest.importorskip("shap")
pytestmark = pytest.mark.filterwarnings("ignore")


def made(name, **parameters):
    return adapter(name, None).with_parameters("made", parameters)


@pytest.mark.parametrize(
    ("name", "parameters"),
    [
        ("GradientExplainer", {"nsamples": 10}),
        ("GradientExplainer", {"nsamples": 10, "local_smoothing": 0.1, "background": "noise"}),
        ("DeepExplainer", {}),
        ("PartitionExplainer", {"max_evals": 40}),
        ("PermutationExplainer", {}),
    ],
)
def test_explainers_of_images(images, careful, name, parameters) -> None:
    careful(made(name, **parameters), *images)


@pytest.mark.parametrize(
    "name",
    ["KernelExplainer", "SamplingExplainer", "PermutationExplainer", "ExactExplainer", "DeepExplainer"],
)
def test_explainers_of_columns_sum_to_the_change_in_output(columns, careful, name: str) -> None:
    model, inputs, targets = columns
    maps = careful(made(name), model, inputs, targets)
    with torch.no_grad():
        change = (model(inputs) - model(torch.zeros_like(inputs))).gather(1, targets[:, None]).squeeze(1)
    torch.testing.assert_close(maps.sum(1), change, rtol=1e-4, atol=1e-5)


def test_shapley_values_are_ours(columns) -> None:
    ours = shapley(*columns, regions="single")
    for name in ("ExactExplainer", "KernelExplainer"):
        torch.testing.assert_close(made(name)(*columns), ours, rtol=1e-4, atol=1e-6)


def test_expected_gradients_from_zero_are_integrated_gradients(columns) -> None:
    found = made("GradientExplainer", nsamples=2000)(*columns)
    torch.testing.assert_close(found, integrated_gradients(*columns), rtol=0.05, atol=0.02)


def test_maps_are_those_of_the_library(images) -> None:
    model, inputs, targets = images
    theirs = shap.DeepExplainer(twin(model), torch.zeros(1, 3, 8, 8)).shap_values(
        inputs, check_additivity=False
    )
    wanted = torch.stack([torch.from_numpy(theirs[i, ..., int(t)]) for i, t in enumerate(targets)]).float()
    torch.testing.assert_close(made("DeepExplainer")(model, inputs, targets), wanted, rtol=1e-4, atol=1e-6)


def test_a_background_is_a_number_or_noise(columns) -> None:
    model, inputs, targets = columns
    at_inputs = made("DeepExplainer", background=0.5)(model, torch.full_like(inputs, 0.5), targets)
    assert float(at_inputs.abs().max()) < 1e-6
    few, again = (made("DeepExplainer", background="noise", backgrounds=3)(*columns) for _ in range(2))
    assert torch.equal(few, again)
    with pytest.raises(ValueError, match="expected background= a number or noise, came 'data'"):
        made("DeepExplainer", background="data")(*columns)


def test_what_does_not_add_up_is_told(images) -> None:
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.one, self.relu, self.two = nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 3)

        def forward(self, inputs):
            return self.two(self.relu(self.relu(self.one(inputs)) - 1)) * 30

    torch.manual_seed(0)
    given = (Twice().eval(), torch.randn(2, 4) * 3, torch.tensor([0, 1]))
    with pytest.raises(AssertionError, match="do not sum up"):
        made("DeepExplainer")(*given)
    assert made("DeepExplainer", check_additivity=False)(*given).shape == (2, 4)


def test_what_cannot_be_is_refused(columns) -> None:
    with pytest.raises(UsageError, match="shap has no method 'DeepExplaner'; the nearest are DeepExplainer"):
        adapter("DeepExplaner", None)
    with pytest.raises(UsageError, match="shap's TreeExplainer explains trees, not networks"):
        adapter("TreeExplainer", None)
    with pytest.raises(UsageError, match="shap:DeepExplainer explains the input and has no layer"):
        adapter("DeepExplainer", "second")
    bound = shap.DeepExplainer(twin(columns[0]), columns[1])
    with pytest.raises(UsageError, match=r"this DeepExplainer is bound to the model .*shap:DeepExplainer"):
        load_method(bound)
    assert load_method(shap.GradientExplainer).name == "GradientExplainer"


def test_a_model_that_raises_is_left_alone(raising) -> None:
    raising(made("DeepExplainer"))
