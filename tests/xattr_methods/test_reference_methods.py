"""Reference methods against slow textbook versions on small float64 networks."""

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

import xattr_check
from xattr_methods import (
    gradcam,
    gradient,
    guided_backprop,
    input_x_gradient,
    integrated_gradients,
    occlusion,
    smoothgrad,
)

SIDE = 8


class Tiny(nn.Module):
    """Two convolutions and a classifier; the second ReLU is in place, the third a function, used twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 5, 3, padding=1)
        self.relu = nn.ReLU()
        self.second = nn.Conv2d(5, 6, 3, stride=2, padding=1)
        self.relu_in_place = nn.ReLU(inplace=True)
        self.classifier = nn.Linear(6, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.relu_in_place(self.second(self.relu(self.first(inputs))))
        return self.classifier(functional.relu(functional.relu(hidden.mean((2, 3)) - 0.01)))


@pytest.fixture
def images() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = Tiny().double().eval()
    return model, torch.randn(3, 3, SIDE, SIDE, dtype=torch.float64), torch.tensor([0, 3, 1])


def logit(model: nn.Module, x: Tensor, target: int) -> float:
    with torch.no_grad():
        return float(model(x[None])[0, target])


def numeric_gradient(model: nn.Module, x: Tensor, target: int, step: float = 1e-6) -> Tensor:
    slopes = torch.zeros_like(x)
    for place in range(x.numel()):
        nudge = torch.zeros_like(x).flatten()
        nudge[place] = step
        up, down = x + nudge.reshape(x.shape), x - nudge.reshape(x.shape)
        slopes.view(-1)[place] = (logit(model, up, target) - logit(model, down, target)) / (2 * step)
    return slopes


def test_gradient_is_the_slope_of_the_target_logit(images) -> None:
    model, inputs, targets = images
    slow = torch.stack([numeric_gradient(model, x, int(t)) for x, t in zip(inputs, targets, strict=True)])
    torch.testing.assert_close(gradient(model, inputs, targets), slow, rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(input_x_gradient(model, inputs, targets), slow * inputs, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("baseline", [None, torch.full((1, 3, 1, 1), 0.5, dtype=torch.float64)])
def test_integrated_gradients_is_the_midpoint_sum_over_the_path(images, baseline) -> None:
    model, inputs, targets = images
    start = torch.zeros_like(inputs) if baseline is None else baseline.expand_as(inputs)
    slow = torch.zeros_like(inputs)
    for step in range(7):
        slow += gradient(model, start + (step + 0.5) / 7 * (inputs - start), targets)
    slow = slow * (inputs - start) / 7
    found = integrated_gradients(model, inputs, targets, baseline=baseline, steps=7)
    torch.testing.assert_close(found, slow, rtol=1e-10, atol=1e-12)


def test_integrated_gradients_sums_to_the_change_in_output(images) -> None:
    model, inputs, targets = images
    found = integrated_gradients(model, inputs, targets, steps=2000).flatten(1).sum(1)
    with torch.no_grad():
        change = (model(inputs) - model(torch.zeros_like(inputs))).gather(1, targets[:, None]).squeeze(1)
    torch.testing.assert_close(found, change, rtol=1e-3, atol=1e-4)


def test_smoothgrad_is_the_mean_gradient_of_noisy_copies(images) -> None:
    model, inputs, targets = images
    generator = torch.Generator().manual_seed(3)
    noise = torch.randn(9, *inputs.shape[1:], generator=generator, dtype=torch.float64)
    spread = 0.2 * torch.stack([x.max() - x.min() for x in inputs])
    slow = sum(gradient(model, inputs + spread[:, None, None, None] * one, targets) for one in noise) / 9
    found = smoothgrad(model, inputs, targets, samples=9, noise=0.2, seed=3)
    torch.testing.assert_close(found, slow, rtol=1e-10, atol=1e-12)


def test_guided_backprop_clips_gradients_at_every_relu(images) -> None:
    model, inputs, targets = images
    with torch.no_grad():
        first = model.first(inputs)
        second = model.second(first.relu())
        mean = second.relu().mean((2, 3)) - 0.01
    down = model.classifier.weight[targets].clamp_min(0) * (mean > 0)  # the function's ReLU, twice the same
    cells = second.shape[2] * second.shape[3]
    down = (down[:, :, None, None] / cells).expand_as(second).clamp_min(0) * (second > 0)
    down = functional.conv_transpose2d(down, model.second.weight, stride=2, padding=1, output_padding=1)
    down = down.clamp_min(0) * (first > 0)
    slow = functional.conv_transpose2d(down, model.first.weight, padding=1)
    torch.testing.assert_close(guided_backprop(model, inputs, targets), slow, rtol=1e-10, atol=1e-12)


def test_guided_backprop_refuses_a_model_without_relu() -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(12, 2))
    with pytest.raises(ValueError, match="calls no ReLU"):
        guided_backprop(model, torch.randn(1, 3, 2, 2), torch.tensor([0]))


@pytest.mark.parametrize("layer", [None, "first"])
def test_gradcam_weights_activations_by_their_mean_gradient(images, layer) -> None:
    model, inputs, targets = images
    maps = []
    for x, target in zip(inputs, targets, strict=True):
        first = model.first(x[None])
        kept = first if layer else model.second(first.relu()).relu()
        kept = kept.detach().requires_grad_()
        hidden = model.second(kept.relu()).relu() if layer else kept
        out = model.classifier(functional.relu(hidden.mean((2, 3)) - 0.01))[0, target]
        (slope,) = torch.autograd.grad(out, kept)
        cell = sum(slope[0, c].mean() * kept[0, c] for c in range(kept.shape[1])).clamp_min(0)
        maps.append(functional.interpolate(cell[None, None], size=(SIDE, SIDE), mode="bilinear")[0])
    found = gradcam(model, inputs, targets, layer=layer)
    torch.testing.assert_close(found, torch.stack(maps).detach(), rtol=1e-10, atol=1e-12)


def test_gradcam_says_what_it_cannot_explain(images) -> None:
    model, inputs, targets = images
    with pytest.raises(
        ValueError, match=r"layer='third': expected a module of the model, for example one of first"
    ):
        gradcam(model, inputs, targets, layer="third")
    with pytest.raises(ValueError, match=r"signals or volumes, came columns \(3, 5\)"):
        gradcam(nn.Linear(5, 2), torch.randn(3, 5), targets)
    with pytest.raises(ValueError, match="no module of this model"):
        gradcam(nn.Sequential(nn.Flatten(), nn.Linear(192, 4)), inputs.float(), targets)


def test_occlusion_averages_the_drops_of_covering_windows(images) -> None:
    model, inputs, targets = images
    size, stride = 3, 2
    x, target = inputs[0], int(targets[0])
    total, cover = torch.zeros(SIDE, SIDE).double(), torch.zeros(SIDE, SIDE).double()
    whole = logit(model, x, target)
    for top in range(stride - size, SIDE, stride):
        for left in range(stride - size, SIDE, stride):
            rows, columns = slice(max(0, top), top + size), slice(max(0, left), left + size)
            hidden = x.clone()
            hidden[:, rows, columns] = 0.25
            total[rows, columns] += whole - logit(model, hidden, target)
            cover[rows, columns] += 1
    found = occlusion(model, inputs[:1], targets[:1], window=size, stride=stride, baseline=0.25)
    torch.testing.assert_close(found[0, 0], total / cover, rtol=1e-10, atol=1e-12)


def test_occlusion_of_columns_and_tokens() -> None:
    weights = torch.randn(2, 5, dtype=torch.float64)
    model = nn.Linear(5, 2, bias=False).double()
    model.weight.data = weights
    x = torch.randn(3, 5, dtype=torch.float64)
    targets = torch.tensor([0, 1, 1])
    torch.testing.assert_close(occlusion(model, x, targets), weights[targets] * x)
    tokens = nn.Sequential(nn.Flatten(), nn.Linear(10, 2)).double()
    inputs = torch.randn(3, 5, 2, dtype=torch.float64)
    assert occlusion(tokens, inputs, targets, layout="embeddings").shape == (3, 5, 1)
    with pytest.raises(ValueError, match="occlusion: what their axes mean cannot be told; expected layout="):
        occlusion(tokens, inputs, targets)


CONTROLS = {name: one for name, one in xattr_check.methods().items() if one.control is not None}


@pytest.mark.parametrize("name", sorted(name for name, one in CONTROLS.items() if "tokens" not in one.needs))
def test_controls_explain_each_input_by_itself(name: str, images) -> None:
    model, inputs, targets = images
    truth = dict.fromkeys({"mask"} | CONTROLS[name].needs - {"image"}, inputs[:, :1] > 0)
    method = CONTROLS[name].bind(xattr_check.Subject("s", model, inputs, targets, truth=truth))
    together = method(model, inputs, targets)
    alone = torch.cat([method(model, inputs[i : i + 1], targets[i : i + 1]) for i in range(3)])
    torch.testing.assert_close(together, alone, rtol=1e-9, atol=1e-11)
    assert together.shape in (inputs.shape, (3, 1, SIDE, SIDE))
    assert together.dtype == torch.float64


def test_methods_take_columns() -> None:
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2)).double()
    x, targets = torch.randn(3, 4, dtype=torch.float64), torch.tensor([0, 1, 1])
    for method in (gradient, input_x_gradient, integrated_gradients, smoothgrad, guided_backprop, occlusion):
        assert method(model, x, targets).shape == x.shape


def test_the_oracle_knows_only_its_own_inputs(images) -> None:
    model, inputs, targets = images
    subject = xattr_check.Subject("s", model, inputs, targets, truth={"mask": inputs[:, :1] > 0})
    oracle = xattr_check.methods()["oracle"].bind(subject)
    torch.testing.assert_close(oracle(model, inputs.flip(0), targets), (inputs[:, :1] > 0).flip(0).double())
    with pytest.raises(LookupError, match="not its own"):
        oracle(model, inputs + 1, targets)
