"""Regions that are ranked and masks that are optimised, against slow textbook versions."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from networks import Twice
from scipy.ndimage import gaussian_filter
from skimage.morphology import dilation, disk
from torch import Tensor, nn
from torch.nn import functional

from xattr_check.core.method import Method
from xattr_methods import extremal_perturbation, integrated_gradients, meaningful_perturbation, xrai
from xattr_methods.regions.extremal_perturbation import SmoothMasks, at_level, pyramid
from xattr_methods.regions.xrai import dilated, ranked, segmented


@pytest.fixture
def images() -> tuple[nn.Module, Tensor, Tensor]:
    torch.manual_seed(0)
    model = Twice(3).double().eval()
    return model, torch.randn(3, 3, 16, 12, dtype=torch.float64), torch.tensor([0, 2, 1])


def textbook_ranking(attribution: np.ndarray, masks: list[np.ndarray], least: int) -> np.ndarray:
    """Segment by segment, every gain computed anew."""
    found = np.full(attribution.shape, np.nan)
    covered = np.zeros(attribution.shape, dtype=bool)
    while True:
        gains = [
            attribution[mask & ~covered].mean() if (mask & ~covered).sum() >= least else -np.inf
            for mask in masks
        ]
        best = int(np.argmax(gains))
        if gains[best] == -np.inf:
            break
        found[masks[best] & ~covered] = gains[best]
        covered |= masks[best]
    if not covered.all():
        found[~covered] = attribution[~covered].mean()
    return found


@given(st.integers(0, 999), st.integers(1, 9))
@settings(max_examples=30, deadline=None)
def test_the_ranking_is_the_greedy_one(seed: int, least: int) -> None:
    generator = np.random.default_rng(seed)
    masks = [generator.random(60) < generator.random() for _ in range(12)]
    attribution = generator.normal(size=60)
    found = ranked(attribution, np.stack(masks, axis=1), least)
    np.testing.assert_allclose(found, textbook_ranking(attribution, masks, least), rtol=1e-9, atol=1e-12)
    assert found.sum() == pytest.approx(attribution.sum())


@pytest.mark.parametrize("radius", [0, 1, 3, 5])
def test_segments_grow_by_a_disk(radius: int) -> None:
    generator = np.random.default_rng(0)
    levels = np.stack([generator.integers(0, 3, (9, 14)), 3 + generator.integers(0, 5, (9, 14))])
    levels[:, :4] = levels[:, 3:4, 2:3]
    held = dilated(levels, radius)
    for number in range(8):
        slow = dilation((levels == number).any(0).astype(np.uint8), disk(radius)).astype(bool)
        np.testing.assert_array_equal(held[:, :, number], slow)


def test_segmentation_is_in_proportion_to_the_image() -> None:
    image = np.zeros((40, 40, 3))
    image[:, 20:] = 1
    image[10:20, 5:15] = 0.5
    levels = segmented(image)
    assert levels.shape == (6, 40, 40)
    for level in levels[:3]:
        assert len({int(level[0, 0]), int(level[15, 10]), int(level[0, 39])}) == 3
    assert len(np.unique(levels)) == levels.max() + 1
    assert len(np.unique(segmented(np.full((8, 8, 5), 0.3)))) == 6  # one segment at each scale


@pytest.mark.parametrize("channels", ["max", "sum"])
def test_xrai_ranks_integrated_gradients_from_black_and_white(channels: str, images) -> None:
    model, inputs, targets = images
    found = xrai(model, inputs, targets, steps=9, channels=channels)
    assert found.shape == (3, 1, 16, 12)
    assert found.dtype == torch.float64
    side = math.sqrt(16 * 12)
    for x, target, one in zip(inputs, targets, found, strict=True):
        paths = []
        for end in (x.min(), x.max()):
            start = torch.full_like(x, float(end))[None]
            paths.append(integrated_gradients(model, x[None], target[None], baseline=start, steps=9)[0])
        mean = sum(paths) / 2
        attribution = (mean.amax(0) if channels == "max" else mean.sum(0)).numpy()
        levels = segmented(x.permute(1, 2, 0).numpy())
        grown = disk(round(5 * side / 224))
        masks = [dilation((levels == n).any(0).astype(np.uint8), grown) > 0 for n in range(levels.max() + 1)]
        slow = textbook_ranking(attribution, masks, max(1, round(50 * side**2 / 224**2)))
        torch.testing.assert_close(one[0], torch.from_numpy(slow), rtol=1e-8, atol=1e-10)
        if channels == "sum":
            assert float(one.sum()) == pytest.approx(float(mean.sum()))


def gaussian(image: Tensor, sigma: float) -> Tensor:
    """Separable blur of an image (C, H, W), reflected at the border, by scipy."""
    truncate = (int(3 * sigma + 0.5) + 0.001) / sigma
    rows = [gaussian_filter(one.numpy(), sigma, mode="mirror", truncate=truncate) for one in image]
    return torch.from_numpy(np.stack(rows))


def slow_smooth_maximum(cells: Tensor, step: int) -> Tensor:
    """Pixel by pixel, over the nine by nine cells around the one at or before the pixel."""
    rows, columns = cells.shape
    margin = 3 * step
    found = torch.zeros((rows - 1) * step + 2 * margin + 1, (columns - 1) * step + 2 * margin + 1).double()
    for y in range(found.shape[0]):
        for x in range(found.shape[1]):
            top, left = (y - margin) // step, (x - margin) // step
            terms = []
            for row in range(top - 4, top + 5):
                for column in range(left - 4, left + 5):
                    distance = math.hypot(y - margin - row * step, x - margin - column * step) / margin
                    weight = math.exp(-2 * max(0.0, distance - 0.5) ** 2)
                    inside = 0 <= row < rows and 0 <= column < columns
                    terms.append(weight * cells[row, column] if inside else cells.new_zeros(()))
            stacked = torch.stack(terms)
            found[y, x] = (stacked * (20 * stacked).softmax(0)).sum()
    return found


@pytest.mark.parametrize(("spatial", "step"), [((4, 3), 1), ((7, 6), 3)])
def test_masks_are_smooth_maxima_of_cells(spatial: tuple[int, int], step: int) -> None:
    generator = torch.Generator().manual_seed(0)
    generate = SmoothMasks(spatial, step, torch.zeros(1, dtype=torch.float64))
    cells = torch.rand(2, *generate.shape, generator=generator, dtype=torch.float64).requires_grad_()
    masks = generate(cells)
    slow = torch.stack([slow_smooth_maximum(one, step) for one in cells])
    torch.testing.assert_close(masks, slow, rtol=1e-10, atol=1e-12)
    inner = masks[:, 3 * step : 3 * step + spatial[0], 3 * step : 3 * step + spatial[1]]
    assert torch.equal(generate.inner(masks)[:, 0], inner)
    slopes = torch.randn(masks.shape, generator=generator, dtype=torch.float64)
    (found,) = torch.autograd.grad((masks * slopes).sum(), cells)
    (expected,) = torch.autograd.grad((slow * slopes).sum(), cells)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


def test_the_pyramid_is_linear_between_its_levels(images) -> None:
    _, inputs, _ = images
    levels = pyramid(inputs, 3.0)
    for number in range(7):
        slow = gaussian(inputs[1], 3 * (1 - number / 7))
        torch.testing.assert_close(levels[1, number], slow, rtol=1e-9, atol=1e-10)
    assert torch.equal(levels[:, 7], inputs)
    masks = torch.full((3, 1, 16, 12), 2.25 / 7, dtype=torch.float64)
    torch.testing.assert_close(at_level(levels, masks), 0.75 * levels[:, 2] + 0.25 * levels[:, 3])
    torch.testing.assert_close(at_level(levels, torch.ones_like(masks)), inputs)


@pytest.mark.parametrize("flip", [False, True])
def test_extremal_perturbation_is_gradient_descent_on_the_cells(flip: bool, images) -> None:
    model, inputs, targets = images
    found = extremal_perturbation(model, inputs, targets, area=0.3, iterations=6, blur=2.0, flip=flip)
    assert found.shape == (3, 1, 16, 12)
    generate = SmoothMasks((16, 12), 1, inputs)
    for x, target, one in zip(inputs, targets, found, strict=True):
        levels = torch.stack([*(gaussian(x, 2 * (1 - level / 7)) for level in range(7)), x])
        cells = nn.Parameter(torch.ones(1, 16, 12, dtype=torch.float64))
        optimiser = torch.optim.SGD([cells], lr=0.01, momentum=0.9, dampening=0.9)
        for step in range(6):
            masks = generate(cells)
            height = 7 * generate.inner(masks)[0, 0]
            hats = torch.stack([(1 - (height - level).abs()).clamp_min(0) for level in range(8)])
            shown = (hats[:, None] * levels).sum(0)
            logit = model((shown.flip(2) if flip and step % 2 == 0 else shown)[None])[0, target]
            ordered = masks.flatten().sort(stable=True).values
            wanted = (torch.arange(len(ordered)) >= int(len(ordered) * 0.7)).double()
            optimiser.zero_grad()
            (300 * 1.0035**step * ((ordered - wanted) ** 2).mean() - logit).backward()
            optimiser.step()
            cells.data.clamp_(0, 1)
        slow = generate.inner(generate(cells)).detach()[0]
        torch.testing.assert_close(one, slow, rtol=1e-8, atol=1e-10)


class Spot(nn.Module):
    """The first logit is how bright, for its surroundings, four pixels are; the second is nothing."""

    def forward(self, inputs: Tensor) -> Tensor:
        grey = inputs.mean(1)
        spot = 8 * (grey[:, 3:5, 8:10].mean((1, 2)) - grey.mean((1, 2)))
        return torch.stack([spot, torch.zeros_like(spot)], dim=1)


@pytest.mark.parametrize(
    ("method", "parameters"), [(extremal_perturbation, {}), (meaningful_perturbation, {"sparsity": 0.01})]
)
def test_masks_find_the_spot_that_makes_the_target(method: Method, parameters: dict[str, float]) -> None:
    inputs = torch.zeros(2, 3, 16, 16, dtype=torch.float64)
    inputs[:, :, 3:5, 8:10] = 1
    inputs[1, :, 10:12, 2:4] = 1  # a distractor
    maps = method(Spot(), inputs, torch.tensor([0, 0]), blur=4.0, iterations=150, **parameters)
    assert maps.shape == (2, 1, 16, 16)
    assert 0 <= float(maps.min()) <= float(maps.max()) <= 1
    for one in maps[:, 0]:
        assert one[3:5, 8:10].mean() > one[10:12, 2:4].mean() + 0.3
        assert one[3:5, 8:10].mean() > one.mean() + 0.3


def slow_meaningful(model: nn.Module, x: Tensor, target: int, shifts: list[tuple[int, int]]) -> Tensor:
    """One image, by torch's Adam; sides of 16 and 12, blur of 2."""
    share = 12 / 224
    fill = gaussian(x, 2.0)

    def mixed(mask: Tensor, down: int = 0, right: int = 0) -> Tensor:
        wide, wide_fill = (functional.pad(one, (0, 2, 0, 2), mode="replicate") for one in (x, fill))
        image, blurred = (one[:, down : down + 16, right : right + 12] for one in (wide, wide_fill))
        return model((mask * image + (1 - mask) * blurred)[None]).softmax(1)[0, target]

    def kernel(sigma: float) -> Tensor:
        reach = int(3 * sigma + 0.5)
        places = torch.arange(-reach, reach + 1).double()
        weights = torch.exp(-(places[:, None] ** 2 + places**2) / (2 * sigma**2))
        return weights / weights.sum()

    def blur(mask: Tensor, sigma: float) -> Tensor:
        weights = kernel(sigma)
        reach = len(weights) // 2
        padded = functional.pad(mask[None, None], (reach,) * 4, mode="reflect") if reach else mask[None, None]
        return functional.conv2d(padded, weights[None, None])[0, 0]

    with torch.no_grad():
        whole, nothing = mixed(torch.ones(16, 12).double()), mixed(torch.zeros(16, 12).double())
        rows, columns = torch.meshgrid(torch.arange(16) - 7.5, torch.arange(12) - 5.5, indexing="ij")
        mask, radius = torch.ones(16, 12).double(), -5 * share
        while mixed(mask) > nothing + 0.01 * (whole - nothing) and radius < 11:
            radius += 5 * share
            mask = blur((rows**2 + columns**2 >= radius**2).double(), 10 * share)
        if radius >= 11:
            mask = torch.zeros(16, 12).double()
    cells = nn.Parameter(mask.clone())
    optimiser = torch.optim.Adam([cells], lr=0.1)
    for step, (down, right) in enumerate(shifts):
        optimiser.param_groups[0]["lr"] = 0.1 * (1 - step / len(shifts)) ** 2
        optimiser.zero_grad()
        steps_down, steps_right = torch.zeros(16, 12).double(), torch.zeros(16, 12).double()
        steps_down[:-1], steps_right[:, :-1] = cells[1:] - cells[:-1], cells[:, 1:] - cells[:, :-1]
        slope = (steps_down**2 + steps_right**2) ** 1.5
        probability = mixed(blur(cells, 5 * share), down, right)
        (probability + 1e-3 * (1 - cells).sum() + 0.02 * slope.sum()).backward()
        optimiser.step()
        cells.data.clamp_(0, 1)
    return 1 - blur(cells.detach(), 5 * share)


def test_meaningful_perturbation_is_adam_on_the_mask(images) -> None:
    model, inputs, targets = images
    model.classifier.weight.data *= 30  # so that blurring does something
    found = meaningful_perturbation(
        model, inputs, targets, iterations=5, sparsity=1e-3, smoothness=0.02, blur=2.0, jitter=3, seed=7
    )
    shifts = torch.randint(3, (5, 2), generator=torch.Generator().manual_seed(7)).tolist()
    for x, target, one in zip(inputs, targets, found, strict=True):
        slow = slow_meaningful(model, x, int(target), shifts)
        torch.testing.assert_close(one[0], slow, rtol=1e-6, atol=1e-8)
    assert not torch.equal(
        found, meaningful_perturbation(model, inputs, targets, iterations=5, blur=2.0, jitter=3, seed=8)
    )


@pytest.mark.parametrize("method", [xrai, extremal_perturbation, meaningful_perturbation])
def test_only_images_are_taken(method: Method) -> None:
    with pytest.raises(ValueError, match=rf"{method.name}: expected images \(N, C, H, W\), came \(3, 5\)"):
        method(nn.Linear(5, 2), torch.randn(3, 5), torch.tensor([0, 1, 1]))


def test_parameters_that_do_not_fit_are_refused(images) -> None:
    with pytest.raises(ValueError, match="xrai: expected channels 'max' or 'sum', came 'mean'"):
        xrai(*images, channels="mean")
    with pytest.raises(ValueError, match="xrai: expected steps of at least 1, came 0"):
        xrai(*images, steps=0)
    with pytest.raises(ValueError, match="extremal_perturbation: expected an area between 0 and 1, came 2"):
        extremal_perturbation(*images, area=2)
    with pytest.raises(ValueError, match="meaningful_perturbation: expected jitter of at least 1, came 0"):
        meaningful_perturbation(*images, jitter=0)
