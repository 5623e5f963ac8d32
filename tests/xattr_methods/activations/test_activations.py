"""Class activation maps and full gradients against slow textbook versions on small float64 networks."""

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Pooled, settled
from torch import Tensor, nn
from torch.nn import functional

from xattr_methods import cam, fullgrad, gradcam, gradcam_plus_plus, guided_backprop, guided_gradcam
from xattr_methods.activations.fullgrad import full_gradients

SIDE = 8
TARGETS = torch.tensor([0, 2, 1])
MAPS = (cam, fullgrad, gradcam, gradcam_plus_plus, guided_gradcam)
by_name = pytest.mark.parametrize("method", MAPS, ids=lambda method: method.name)


class Functional(nn.Module):
    """Functions in place of modules, parameters added by hand, constants, a concatenation, max pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.kernel = nn.Parameter(torch.randn(4, 3, 3, 3))
        self.shift = nn.Parameter(torch.randn(4))
        self.prompt = nn.Parameter(torch.randn(1, 2, 1, 1))
        self.norm = nn.BatchNorm2d(6, affine=False)
        self.weight = nn.Parameter(torch.randn(3, 6))
        self.offset = nn.Parameter(torch.randn(3))

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = functional.conv2d(inputs, self.kernel, bias=self.shift) + self.shift[:, None, None]
        hidden = functional.leaky_relu(1 - hidden, 0.1)
        prompt = self.prompt.expand(len(inputs), -1, *hidden.shape[2:])
        hidden = torch.relu(self.norm(torch.cat([hidden, prompt], 1)) - 0.5)
        hidden = functional.max_pool2d(hidden, 2).mean((2, 3))
        hidden += 0.25
        return torch.addmm(self.offset, functional.relu_(hidden), self.weight.T) * 2


def pointwise() -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(3, 4, 3), nn.GELU(), nn.ConvTranspose2d(4, 4, 2), nn.ReLU6(True), nn.BatchNorm2d(4),
        nn.SiLU(), nn.Flatten(), nn.Linear(196, 5), nn.Tanh(), nn.Linear(5, 3), nn.Hardswish(),
    )  # fmt: skip


def signals() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(3, 4, 3), nn.BatchNorm1d(4), nn.PReLU(), nn.ConvTranspose1d(4, 4, 3), nn.ReLU(True),
        nn.Flatten(), nn.BatchNorm1d(32), nn.Linear(32, 3),
    )  # fmt: skip


class Gated(nn.Module):
    """A squeeze-and-excitation gate."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.gate, self.classifier = nn.Conv2d(3, 4, 3), nn.Linear(4, 4), nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.conv(inputs)
        hidden = torch.sigmoid(self.gate(hidden.mean((2, 3))))[:, :, None, None] * hidden * 2
        return self.classifier(hidden.clamp(max=0.5).mean((2, 3)))


def volumes() -> nn.Module:
    return nn.Sequential(
        nn.Conv3d(2, 3, 2), nn.BatchNorm3d(3), nn.ReLU(), nn.ConvTranspose3d(3, 2, 2), nn.Flatten(),
        nn.Linear(54, 3),
    )  # fmt: skip


def columns() -> nn.Module:
    return nn.Sequential(nn.Linear(7, 5), nn.ReLU(), nn.BatchNorm1d(5), nn.Linear(5, 3))


def logits_of(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    with torch.no_grad():
        return model(inputs).gather(1, targets[:, None]).squeeze(1)


@pytest.fixture
def images() -> tuple[nn.Module, Tensor]:
    torch.manual_seed(0)
    return settled(Pooled()), torch.randn(3, 3, SIDE, SIDE, dtype=torch.float64)


@pytest.mark.parametrize(
    ("make", "shape"),
    [
        (Pooled, (3, SIDE, SIDE)),
        (Functional, (3, SIDE, SIDE)),
        (pointwise, (3, SIDE, SIDE)),
        (Gated, (3, SIDE, SIDE)),
        (signals, (3, 8)),
        (columns, (7,)),
        (volumes, (2, 3, 3, 3)),
    ],
    ids=["pooled", "functional", "pointwise", "gated", "signals", "columns", "volumes"],
)  # fmt: skip
@pytest.mark.parametrize("trainable", [True, False])
def test_input_and_bias_terms_sum_to_the_logit(make: Callable[[], nn.Module], shape, trainable) -> None:
    for seed in range(3):
        torch.manual_seed(seed)
        model = settled(make()).requires_grad_(trainable)
        inputs = torch.randn(3, *shape, dtype=torch.float64)
        terms = full_gradients(model, inputs, TARGETS)
        total = sum(term.flatten(1).sum(1) for term in (terms.input, *terms.biases))
        torch.testing.assert_close(total, logits_of(model, inputs, TARGETS), rtol=1e-8, atol=1e-8)
        assert all(parameter.grad is None for parameter in model.parameters())


def test_each_bias_term_is_the_bias_times_its_gradient(images) -> None:
    model, inputs = images
    terms = full_gradients(model, inputs, TARGETS)
    # first, norm, norm again, classifier; the second convolution has no bias
    assert [tuple(term.shape) for term in terms.biases] == [(3, 5, 8, 8), (3, 5, 8, 8), (3, 5, 4, 4), (3, 3)]
    norm = model.norm
    implicit = norm.bias - norm.running_mean * norm.weight / (norm.running_var + norm.eps).sqrt()
    for row in range(3):
        x = inputs[row : row + 1].clone().requires_grad_()
        first = model.first(x)
        low = model.norm(first)
        pooled = model.pool(low.relu())
        again = model.norm(model.second(pooled))
        out = model.classifier((again + pooled).relu().mean((2, 3)))
        slopes = torch.autograd.grad(out[0, TARGETS[row]], [x, first, low, again, out])
        wanted = [x, model.first.bias[:, None, None], implicit[:, None, None], implicit[:, None, None]]
        for found, slope, bias in zip(
            (terms.input, *terms.biases), slopes, (*wanted, model.classifier.bias), strict=True
        ):
            torch.testing.assert_close(found[row], (slope * bias)[0].detach(), rtol=1e-9, atol=1e-12)


def test_fullgrad_lays_rescaled_magnitudes_over_each_other(images) -> None:
    model, inputs = images
    terms = full_gradients(model, inputs, TARGETS)
    slow = torch.zeros(3, 1, SIDE, SIDE, dtype=torch.float64)
    for term in (terms.input, *terms.biases[:3]):
        for row in range(3):
            size = term[row].abs()
            scaled = (size - size.min()) / (size.max() - size.min())
            for channel in scaled:
                slow[row] += functional.interpolate(channel[None, None], size=(SIDE, SIDE), mode="bilinear")[
                    0
                ]
    torch.testing.assert_close(fullgrad(model, inputs, TARGETS), slow, rtol=1e-9, atol=1e-12)


def test_fullgrad_takes_a_layer_without_contrast_and_logits_of_zero() -> None:
    model = nn.Sequential(nn.Conv2d(3, 4, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 3)).double()
    with torch.no_grad():
        model[0].bias.fill_(0)
    inputs = torch.randn(3, 3, 4, 4).double()
    assert bool(torch.isfinite(fullgrad(model, inputs, TARGETS)).all())
    with torch.no_grad():
        model[3].weight.fill_(0), model[3].bias.fill_(0)
    assert not bool(fullgrad(model, inputs, TARGETS).any())


class Product(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.other, self.out = nn.Linear(12, 4), nn.Linear(12, 4), nn.Linear(1, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.out(
            (self.one(inputs.flatten(1))[:, None] @ self.other(inputs.flatten(1))[..., None]).flatten(1)
        )


@pytest.mark.parametrize(
    "model",
    [
        Product(),
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.GroupNorm(2, 4), nn.Flatten(), nn.Linear(16, 3)),
        nn.Sequential(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4, track_running_stats=False), nn.Flatten(),
                      nn.Linear(16, 3)),
    ],
    ids=["product", "groups", "batch statistics"],
)  # fmt: skip
def test_fullgrad_refuses_what_has_no_such_terms(model) -> None:
    torch.manual_seed(0)
    with pytest.raises(
        ValueError, match=r"whose terms sum to .* where its logits sum to .*; use integrated_gr"
    ):
        fullgrad(model.double().eval(), torch.randn(3, 3, 2, 2).double(), TARGETS)


def test_cam_weights_activations_by_the_classifier(images) -> None:
    model, inputs = images
    with torch.no_grad():
        low = model.pool(model.norm(model.first(inputs)).relu())
        last = (model.norm(model.second(low)) + low).relu()
    slow = torch.zeros(3, 1, 4, 4, dtype=torch.float64)
    for row, target in enumerate(TARGETS):
        for channel in range(5):
            slow[row, 0] += model.classifier.weight[target, channel].detach() * last[row, channel]
    total = slow.mean((2, 3)).squeeze(1) + model.classifier.bias[TARGETS].detach()
    torch.testing.assert_close(total, logits_of(model, inputs, TARGETS))
    slow = functional.interpolate(slow, size=(SIDE, SIDE), mode="bilinear")
    torch.testing.assert_close(cam(model, inputs, TARGETS), slow, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(cam(model, inputs, TARGETS, layer="relu"), slow, rtol=1e-9, atol=1e-12)
    assert float(slow.min()) < 0


def test_cam_refuses_another_head(images) -> None:
    model, inputs = images
    hidden = nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    with pytest.raises(
        ValueError, match=r"cam: expected a linear classifier of the 4 channels .* came one of 6"
    ):
        cam(nn.Sequential(hidden, nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 3)).double(), inputs, TARGETS)
    with pytest.raises(ValueError, match=r"came no linear layer; use gradcam"):
        cam(hidden.double(), inputs, TARGETS)
    squashed = nn.Sequential(hidden, nn.Sigmoid(), nn.Linear(4, 3)).double()
    with pytest.raises(
        ValueError, match=r"a linear map of the activation's global average, came logits .* away"
    ):
        cam(squashed, inputs, TARGETS)
    with pytest.raises(ValueError, match=r"expected a linear classifier|a linear map of the activation's"):
        cam(model, inputs, TARGETS, layer="first")


def kept_and_slope(model: Pooled, x: Tensor, target: int) -> tuple[Tensor, Tensor]:
    """The last activation of one input and the gradient there, (C, h, w) each."""
    low = model.pool(model.norm(model.first(x[None])).relu())
    last = (model.norm(model.second(low)) + low).relu().detach().requires_grad_()
    (slope,) = torch.autograd.grad(model.classifier(last.mean((2, 3)))[0, target], last)
    return last[0].detach(), slope[0]


def test_gradcam_plus_plus_is_its_formula(images) -> None:
    model, inputs = images
    maps = []
    for x, target in zip(inputs, TARGETS, strict=True):
        last, slope = kept_and_slope(model, x, int(target))
        cells = torch.zeros(4, 4, dtype=torch.float64)
        for a, g in zip(last, slope, strict=True):
            weight = 0.0
            for i in range(4):
                for j in range(4):
                    if g[i, j] != 0:
                        alpha = g[i, j] ** 2 / (2 * g[i, j] ** 2 + a.sum() * g[i, j] ** 3)
                        weight += float(alpha * g[i, j].clamp_min(0))
            cells += weight * a
        maps.append(
            functional.interpolate(cells.clamp_min(0)[None, None], size=(SIDE, SIDE), mode="bilinear")
        )
    found = gradcam_plus_plus(model, inputs, TARGETS)
    torch.testing.assert_close(found, torch.cat(maps), rtol=1e-9, atol=1e-12)


def test_guided_gradcam_is_the_product(images) -> None:
    model, inputs = images
    product = guided_backprop(model, inputs, TARGETS) * gradcam(model, inputs, TARGETS)
    torch.testing.assert_close(guided_gradcam(model, inputs, TARGETS), product, rtol=1e-9, atol=1e-12)


def test_a_layer_that_is_called_twice_has_two_maps(images) -> None:
    model, inputs = images
    last = gradcam(model, inputs, TARGETS)  # of a sum behind a ReLU in place
    torch.testing.assert_close(gradcam(model, inputs, TARGETS, layer="relu"), last)
    torch.testing.assert_close(gradcam(model, inputs, TARGETS, layer="relu", call=1), last)
    first = gradcam(model, inputs, TARGETS, layer="relu", call=0)
    slow = []
    for x, target in zip(inputs, TARGETS, strict=True):
        low = model.norm(model.first(x[None])).relu().detach().requires_grad_()
        pooled = model.pool(low)
        hidden = (model.norm(model.second(pooled)) + pooled).relu()
        (slope,) = torch.autograd.grad(model.classifier(hidden.mean((2, 3)))[0, target], low)
        slow.append((slope.mean((2, 3), keepdim=True) * low).sum(1, keepdim=True).clamp_min(0).detach())
    torch.testing.assert_close(first, torch.cat(slow), rtol=1e-9, atol=1e-12)
    with pytest.raises(
        ValueError, match=r"layer='relu', call=2: expected one of the calls .* came 2 of them"
    ):
        gradcam(model, inputs, TARGETS, layer="relu", call=2)


class Custom(nn.Module):
    """A leaf of one's own, which no function of torch.nn tells of."""

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs * torch.sigmoid(inputs)


class FunctionalEnd(nn.Module):
    def __init__(self, end: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.end = end
        self.classifier = nn.Linear(4, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        return self.classifier(self.end(self.conv(inputs)).mean((2, 3)))


@pytest.mark.parametrize(
    "end", [functional.relu, torch.relu_, lambda x: functional.relu(x, inplace=True), Custom()],
    ids=["relu", "in place", "argument", "leaf"],
)  # fmt: skip
def test_the_last_layer_may_be_a_function(images, end) -> None:
    _, inputs = images
    model = FunctionalEnd(end).double()
    with torch.no_grad():
        last = end(model.conv(inputs))
    weights = model.classifier.weight[TARGETS].detach()
    cells = (weights[:, :, None, None] * last).sum(1, keepdim=True)
    slow = functional.interpolate(cells, size=(SIDE, SIDE), mode="bilinear")
    torch.testing.assert_close(cam(model, inputs, TARGETS), slow)
    slow = functional.interpolate(cells.clamp_min(0) / 36, size=(SIDE, SIDE), mode="bilinear")
    torch.testing.assert_close(gradcam(model, inputs, TARGETS), slow)


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 2**31))
def test_gradcam_of_a_pooled_network_is_cam_rectified(seed: int) -> None:
    torch.manual_seed(seed)
    model = settled(Pooled())
    inputs = torch.randn(3, 3, SIDE, SIDE, dtype=torch.float64)
    last = [kept_and_slope(model, x, int(t))[0] for x, t in zip(inputs, TARGETS, strict=True)]
    weights = model.classifier.weight[TARGETS, :, None, None].detach()
    cells = (weights * torch.stack(last)).sum(1, keepdim=True)
    for method, scaled in ((cam, cells), (gradcam, cells.clamp_min(0) / 16)):
        slow = functional.interpolate(scaled, size=(SIDE, SIDE), mode="bilinear")
        torch.testing.assert_close(method(model, inputs, TARGETS), slow, rtol=1e-9, atol=1e-12)


@by_name
def test_columns_are_refused(method) -> None:
    with pytest.raises(
        ValueError, match=rf"{method.name}: expected images \(N, C, H, W\),.* came .*\(3, 7\)"
    ):
        method(columns(), torch.randn(3, 7), TARGETS)


@pytest.mark.parametrize("method", [cam, gradcam, gradcam_plus_plus, guided_gradcam], ids=lambda m: m.name)
def test_layers_that_cannot_be_shown(images, method) -> None:
    model, inputs = images
    with pytest.raises(
        ValueError, match="layer='third': expected a module of the model, for example one of fi"
    ):
        method(model, inputs, TARGETS, layer="third")
    with pytest.raises(
        ValueError, match=r"layer='classifier': expected a layer that returns \(N, C, h, w\), c"
    ):
        method(model, inputs, TARGETS, layer="classifier")
    with pytest.raises(ValueError, match="no module of this model returns"):
        method(nn.Sequential(nn.Flatten(), nn.Linear(192, 3)).double(), inputs, TARGETS)


def test_a_layer_without_effect_is_refused(images) -> None:
    _, inputs = images

    class Aside(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.aside, self.classifier = nn.Conv2d(3, 4, 3), nn.Conv2d(3, 4, 3), nn.Linear(4, 3)

        def forward(self, inputs: Tensor) -> Tensor:
            hidden = self.conv(inputs)
            self.aside(inputs)
            return self.classifier(hidden.mean((2, 3)))

    model = Aside().double()
    with pytest.raises(ValueError, match=r"layer='aside': expected a layer that the output depends on"):
        gradcam(model, inputs, TARGETS, layer="aside")
    assert gradcam(model, inputs, TARGETS, layer="conv").shape == (3, 1, SIDE, SIDE)
