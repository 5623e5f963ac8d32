"""Insertion, deletion and sensitivity-n against loops over single images, and where they say nothing."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import recipes
import torch
from broken_anywhere import BROKEN
from judging import judge, measured
from planted import planted
from scipy.ndimage import gaussian_filter
from subjects import columns, images, sharp, tokens
from torch import Tensor, nn

import xattr_check
from xattr_axioms.contract._calls import ROUNDING
from xattr_axioms.faithfulness.sensitivity_n import SUBSETS
from xattr_check import Beats, Subject, checks, load_method, load_subject
from xattr_check.battery.controls import ASKING, Controls
from xattr_check.core.method import Method
from xattr_check.core.run import Draw, Run
from xattr_check.core.units import Units
from xattr_check.perturbation.curves import shares, whole_shares
from xattr_check.perturbation.subsets import random_subsets

# A gate that controls set is one that controls do not pass.
FAITHFULNESS = [
    name
    for name, check in xattr_check.checks().items()
    if check.family == "faithfulness" and isinstance(check.gate, Beats)
]
CONTROLS = ("constant", "random", "input_magnitude")


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "images": lambda: sharp(images()),
    "columns": lambda: sharp(columns()),
    "tokens": lambda: sharp(tokens()),
}


def maps_of(method: str, subject: Subject, draw: Draw) -> np.ndarray:
    """One score for each feature, (n, P): magnitudes for a sensitivity, summed over channels."""
    maps = load_method(method).bind(subject)(subject.model, draw.inputs, draw.targets).double()
    if load_method(method).sensitivity:
        maps = maps.abs()
    if maps.ndim > 2:
        maps = maps.sum(1 if maps.ndim == 4 else -1)
    return maps.flatten(1).numpy()


def fill_of(check: str, subject: Subject, draw: Draw) -> Tensor:
    if check == "insertion" and subject.is_image:
        rows = [
            [
                gaussian_filter(channel.numpy(), min(subject.spatial) / 8, mode="mirror", truncate=3.0)
                for channel in row
            ]
            for row in draw.inputs
        ]
        return torch.from_numpy(np.array(rows))
    over = {"image": (0, 2, 3), "embeddings": (0, 1)}.get(subject.layout.name, (0,))
    return torch.from_numpy(np.mean(subject.inputs.numpy(), over, keepdims=True)).expand_as(draw.inputs)


def put(target: Tensor, source: Tensor, feature: int, spatial: tuple[int, ...]) -> None:
    """Copy one feature, all its channels, from one input (*F) into another."""
    if len(spatial) == 2:
        row, column = divmod(feature, spatial[1])
        target[:, row, column] = source[:, row, column]
    else:
        target[feature] = source[feature]


@torch.no_grad()
def slow_area(check: str, subject: Subject, draw: Draw, scores: np.ndarray) -> list[float]:
    """Rank, show or remove one feature after the other, forward, softmax, trapezoids."""
    fills, areas = fill_of(check, subject, draw), []
    for row, target, fill, score in zip(draw.inputs, draw.targets, fills, scores, strict=True):
        order = sorted(range(len(score)), key=lambda feature: -score[feature])
        begin, end = (fill, row) if check == "insertion" else (row, fill)
        curve = []
        # Every input there is along the way, once.
        numbers = sorted({round(len(order) * step / 16) for step in range(17)})
        for number in numbers:
            image = begin.clone()
            for feature in order[:number]:
                put(image, end, feature, subject.spatial)
            curve.append(float(subject.model(image[None]).softmax(1)[0, target]))
        widths = [(after - before) / len(order) for before, after in pairwise(numbers)]
        areas.append(sum(width * sum(ends) / 2 for width, ends in zip(widths, pairwise(curve), strict=True)))
    return areas


@pytest.mark.parametrize("kind", SUBJECTS)
@pytest.mark.parametrize("check", ["insertion", "deletion"])
def test_areas_by_a_loop(check: str, kind: str, run: Run) -> None:
    subject = SUBJECTS[kind]()
    for method in ("xattr:gradient", "xattr:input_x_gradient", "xattr:occlusion"):
        measurement, draw = measured(check, method, subject, run)
        expected = slow_area(check, subject, draw, maps_of(method, subject, draw))
        assert measurement.samples.tolist() == pytest.approx(expected, abs=1e-4), method


@pytest.mark.parametrize("make", [recipes.subject, partial(planted, "signal", "classes")])
@pytest.mark.parametrize("check", ["insertion", "deletion", "sensitivity_n"])
def test_a_mask_of_what_the_model_does_not_use_excuses_nothing(
    check: str, make: Callable[[], Subject], run: Run
) -> None:
    given = make()
    astray = {"mask": given.truth["mask"].roll(given.spatial[-1] // 2, -1)}
    right = load_method("xattr:input_x_gradient")

    def mirrored(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return right(model, inputs, targets).flip(-1)

    for causal in (False, True):  # be it said to be causal or not
        other = replace(given, truth=astray, causal=causal)
        assert [judge(check, one, other, run).status for one in (right, mirrored)] == ["pass", "fail"]


class Unusual(nn.Module):
    """Sums how far columns of other units are from their means, each for one of four classes."""

    mean, scale = (
        torch.tensor([40, 3e4, 0.3, 170, 12, 5e3, 1, 7]),
        torch.tensor([12, 9e3, 0.4, 9, 3, 2e3, 1, 2]),
    )

    def forward(self, inputs: Tensor) -> Tensor:
        return ((inputs - self.mean) / self.scale).square().unflatten(1, (4, 2)).sum(2)


@pytest.mark.parametrize("check", ["insertion", "deletion"])
def test_where_zero_is_far_from_the_data_the_mean_is_asked_for(check: str, run: Run) -> None:
    """What measures from zero tells nothing there, and excuses no wrong map."""
    model, generator = Unusual(), torch.Generator().manual_seed(0)
    inputs = model.mean + model.scale * torch.randn(128, 8, generator=generator)
    targets = model(inputs).argmax(1)
    subject = Subject("units", model, inputs, targets)
    integrated = load_method("xattr:integrated_gradients")

    def right(model: nn.Module, inputs: Tensor, targets: Tensor, baseline: Tensor) -> Tensor:
        return integrated(model, inputs, targets, baseline=baseline)

    def moved(model: nn.Module, inputs: Tensor, targets: Tensor, baseline: Tensor) -> Tensor:
        return right(model, inputs, targets, baseline).roll(3, 1)

    found = judge(check, right, subject, run)
    assert found.status == "pass", str(found)
    verdict = judge(check, moved, subject, run)
    assert verdict.status == "fail", str(verdict)


@pytest.mark.parametrize("steps", [16, 32])
@pytest.mark.parametrize("check", ["insertion", "deletion", "degradation?order=morf"])
def test_no_step_of_few_features_weighs_twice(check: str, steps: int, run: Run) -> None:
    """Five columns have six inputs on the way, whatever the steps: no more points, and one area."""
    few = Subject("five", nn.Linear(5, 3), torch.randn(12, 5), torch.arange(12) % 3)
    subject, spec = sharp(few), f"{check}{'&' if '?' in check else '?'}steps={steps}"
    measurement, _ = measured(spec, "xattr:occlusion", subject, run)
    assert measurement.lines is not None
    assert measurement.lines.x == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1])
    curve = measurement.evidence["morf" if "morf" in check else "curve"]
    expected = ((curve[:, 1:] + curve[:, :-1]) / 2).mean(1)
    assert torch.allclose(measurement.samples, expected)


def test_shares_of_many_features_are_even() -> None:
    subject = Subject("many", nn.Linear(64, 2), torch.randn(2, 64), torch.zeros(2).long())
    assert shares(subject, "pixels") == [step / 16 for step in range(17)]
    assert whole_shares([0.1, 0.11, 0.5], subject, "pixels") == [6 / 64, 7 / 64, 0.5]


@pytest.mark.parametrize("check", ["insertion", "deletion"])
def test_the_best_order_is_found_the_best(check: str, run: Run) -> None:
    """On a linear model with two classes, what each column adds to the margin is the best order there is."""
    generator = torch.Generator().manual_seed(6)
    weights = torch.randn(8, generator=generator)
    model = nn.Linear(8, 2)
    with torch.no_grad():
        model.weight.copy_(torch.stack([weights, -weights]))
        model.bias.zero_()
    # Columns that go together: what a column by itself tells of the class is not what the model makes of it.
    inputs = torch.randn(128, 8, generator=generator) @ torch.randn(8, 8, generator=generator)
    subject = Subject("margin", model, inputs, (inputs @ weights < 0).long())

    def margin(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return (inputs - subject.inputs.mean(0)) * (1 - 2 * targets)[:, None] * weights

    def worst(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return -margin(model, inputs, targets)

    best, least = judge(check, margin, subject, run), judge(check, worst, subject, run)
    assert (best.status, least.status) == ("pass", "fail")
    assert best.interval is not None
    assert least.interval is not None
    others = [*best.controls.values(), least.interval.value]
    better = max if check == "insertion" else min
    assert better([best.interval.value, *others]) == best.interval.value


@pytest.mark.parametrize("check", ["insertion", "deletion"])
def test_ties_are_broken_at_random_and_not_in_raster_order(check: str, run: Run) -> None:
    """A constant map is no order: its area is that of no method in particular, whatever the image."""
    subject = sharp(images())
    measurement, draw = measured(check, "xattr:constant", subject, run)
    raster = np.tile(-np.arange(144.0), (12, 1))
    assert measurement.samples.tolist() != pytest.approx(slow_area(check, subject, draw, raster), abs=1e-3)


@torch.no_grad()
def slow_sensitivity(subject: Subject, draw: Draw, scores: np.ndarray) -> list[float]:
    """One forward pass for each input and subset, and NumPy's correlation."""
    units = Units.of(subject, "regions")
    count = units.count
    members = torch.stack([units.index.flatten() == one for one in range(count)])
    sizes = sorted({max(1, round(count / 32)), max(1, round(count / 8)), max(1, round(count / 3))})
    fills, means = fill_of("sensitivity_n", subject, draw), []
    for row, target, fill, score in zip(draw.inputs, draw.targets, fills, scores, strict=True):
        whole = float(subject.model(row[None])[0, target])
        by_size = []
        for size in sizes:
            sums, changes = [], []
            for subset in random_subsets(SUBSETS, size, count, draw.generator("subsets", size)):
                features = members[subset].any(0).nonzero().flatten().tolist()
                image = row.clone()
                for feature in features:
                    put(image, fill, feature, subject.spatial)
                sums.append(sum(score[feature] for feature in features))
                changes.append(whole - float(subject.model(image[None])[0, target]))
            by_size.append(np.corrcoef(sums, changes)[0, 1])
        means.append(float(np.mean(by_size)))
    return means


@pytest.mark.parametrize("kind", SUBJECTS)
def test_sensitivity_n_by_a_loop(kind: str, run: Run) -> None:
    subject = SUBJECTS[kind]()
    for method in ("xattr:gradient", "xattr:input_x_gradient"):
        measurement, draw = measured("sensitivity_n", method, subject, run)
        expected = slow_sensitivity(subject, draw, maps_of(method, subject, draw))
        assert measurement.samples.tolist() == pytest.approx(expected, abs=1e-4), method


def test_sensitivity_n_is_one_where_the_model_is_linear(run: Run) -> None:
    subject = columns(count=64)
    measurement, _ = measured("sensitivity_n", "xattr:occlusion?baseline=0", centred(subject), run)
    assert measurement.samples.min() > 1 - ROUNDING


def centred(subject: Subject) -> Subject:
    """The same with columns of mean zero, so that zero and the mean are one baseline."""
    inputs = subject.inputs - subject.inputs.mean(0)
    return Subject(subject.name, subject.model, inputs, subject.targets)


def test_random_subsets_are_of_their_size_and_uniform() -> None:
    subsets = random_subsets(20_000, 3, 8, torch.Generator().manual_seed(0))
    assert bool((subsets.sum(1) == 3).all())
    # Five standard deviations of a share of 3/8 in 20 000.
    assert float((subsets.double().mean(0) - 3 / 8).abs().max()) < 5 * (3 / 8 * 5 / 8 / 20_000) ** 0.5
    assert len(subsets.unique(dim=0)) == 56


def test_every_feature_is_in_one_region() -> None:
    image, column = (Units.of(subject, "regions") for subject in (images(), columns()))
    assert (image.index.shape, image.count) == ((12, 12), 64)
    assert (column.index.tolist(), column.count) == ([0, 1, 2, 3, 4, 5], 6)
    own = Units.of(replace(images(), regions=torch.arange(144).reshape(12, 12) // 40 + 7), "regions")
    assert own.index.flatten().bincount().tolist() == [40, 40, 40, 24]


class Deaf(nn.Module):
    """Returns the same logits for every input."""

    def __init__(self) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.tensor([2.0, 1.0, 0.0]))

    def forward(self, inputs: Tensor) -> Tensor:
        return self.logits + 0 * inputs.flatten(1).sum(1, keepdim=True)


NO_EFFECT = (
    "with fill={} in place of all features the target's probability falls by 0.00 on average, "
    "and should by 0.1"
)


def test_targets_that_are_not_predicted_are_counted(run: Run) -> None:
    """As where they are off by one."""
    near = sharp(columns(count=64))
    subject = replace(near, targets=(near.model(near.inputs).argmin(1)))
    verdict = judge("deletion", "xattr:gradient", subject, run)
    assert verdict.status == "not_applicable"
    assert str(verdict).endswith("does not see its inputs as evidence for its targets, and predicts 0 of 32")


@pytest.mark.parametrize("check", ["insertion", "deletion"])
def test_a_model_that_ignores_its_input(check: str, run: Run) -> None:
    subject = Subject("deaf", Deaf(), torch.randn(12, 3, 12, 12), torch.zeros(12, dtype=torch.int64))
    verdict = judge(check, "xattr:gradient", subject, run)
    assert verdict.status == "not_applicable"
    fill, others = ("blur", "mean, zero, noise") if check == "insertion" else ("mean", "zero, blur, noise")
    assert str(verdict) == (
        f"{check}: {NO_EFFECT.format(fill)}, as with {others}: "
        "the model does not see its inputs as evidence for its targets"
    )


class Bright(nn.Module):
    """Tells whether an image is brighter than half, which a blur leaves as it is."""

    def forward(self, inputs: Tensor) -> Tensor:
        logit = 20 * (inputs.flatten(1).mean(1) - 0.5)
        return torch.stack([logit, -logit], dim=1)


def bright(**offers: Any) -> Subject:
    levels = torch.tensor([0.9, 0.1]).repeat(8).reshape(16, 1, 1, 1)
    inputs = (levels + 0.1 * torch.randn(16, 1, 8, 8, generator=torch.Generator().manual_seed(0))).clamp(0, 1)
    return Subject("bright", Bright(), inputs, torch.tensor([0, 1]).repeat(8), **offers)


@pytest.mark.parametrize(
    "check", ["insertion", "deletion", "degradation", "top_bottom_masking", "road", "completeness_soundness"]
)
def test_a_fill_with_an_effect_is_named_where_one_has_none(check: str, run: Run) -> None:
    verdict = judge(f"{check}?fill=blur&by=regions", "xattr:gradient", bright(), run)
    assert verdict.status == "not_applicable"
    found = f"; with fill=mean it falls by 0.50: ask {check}?fill=mean&by=regions"
    assert verdict.sentence == f"{NO_EFFECT.format('blur')}{found}"


def test_the_first_fill_with_an_effect_is_named(run: Run) -> None:
    """Dark images: neither their mean nor zero takes the target down, a bright reference does."""
    dark = bright(reference=lambda n, generator: torch.ones(n, 1, 8, 8))
    dark = replace(dark, inputs=dark.inputs[1::2], targets=dark.targets[1::2])
    verdict = judge("insertion", "xattr:gradient", dark, run)
    found = "; with fill=reference it falls by 1.00: ask insertion?fill=reference"
    assert verdict.sentence == f"{NO_EFFECT.format('blur')}{found}"


class Marked(nn.Module):
    """Whether there is a bright mark in the first of three channels; a darker ground is none."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.classifier = nn.Conv2d(3, 1, 3, padding=1), nn.Linear(1, 2)
        with torch.no_grad():
            self.conv.weight.zero_()[:, 0] = 1 / 9
            self.conv.bias.fill_(-0.7)
            self.classifier.weight.copy_(torch.tensor([[-40.0], [40.0]]))
            self.classifier.bias.copy_(torch.tensor([4.0, -4.0]))

    def forward(self, inputs: Tensor) -> Tensor:
        logits: Tensor = self.classifier(torch.relu(self.conv(inputs)).amax((2, 3)))
        return logits


def marked(share: float, others: int) -> Subject:
    """So large a share of images with a mark, over as many brighter ones as told in the other channels."""
    generator = torch.Generator().manual_seed(0)
    inputs = 0.4 + 0.05 * torch.randn(200, 3, 12, 12, generator=generator)
    targets = (torch.rand(200, generator=generator) < share).long()
    places = torch.randint(10, (200, 1 + others, 2), generator=generator).tolist()
    for image, target, ((row, column), *rest) in zip(inputs, targets.tolist(), places, strict=True):
        image[0, row : row + 3, column : column + 3] += 0.6 * target
        for other_row, other_column in rest:
            image[1:, other_row : other_row + 3, other_column : other_column + 3] += 1
    return Subject("marked", Marked().eval(), inputs, targets, black=0.0)


@pytest.mark.parametrize("check", ["deletion", "degradation"])
@pytest.mark.parametrize("share", [1.0, 0.6, 0.25])
def test_inputs_that_a_fill_leaves_as_they_are_make_no_map_fail(check: str, share: float, run: Run) -> None:
    """A black image has no mark, as those of the first class: of these no map takes anything away."""
    alone = judge(f"{check}?fill=black", "xattr:occlusion", marked(share, others=0), run)
    assert alone.status == "invalid", str(alone)  # the brightest is the mark
    assert "no map is known to pass" in str(alone)
    right, wrong = (
        judge(f"{check}?fill=black", method, marked(share, others=3), run)
        for method in ("xattr:occlusion", "xattr:random")
    )
    # Of a quarter of 200 inputs the interval is wide.
    expected = "pass" if share > 0.5 else "undecided"
    assert (right.status, wrong.status) == (expected, "fail"), str(right)


@pytest.mark.parametrize("check", ["top_bottom_masking", "road"])
def test_nor_where_few_points_of_a_curve_are_judged(check: str, run: Run) -> None:
    """At each of them the brightest fifth is gone, the mark among it: all that could be."""
    for share in (1.0, 0.4):
        verdict = judge(f"{check}?fill=black", "xattr:occlusion", marked(share, others=0), run)
        assert verdict.status == "invalid", str(verdict)
        assert "no map is known to pass" in str(verdict)


def test_sensitivity_n_of_a_model_that_ignores_its_input(run: Run) -> None:
    """Attributions of zero are right, but there is nothing that they could go with."""
    subject = Subject("deaf", Deaf(), torch.randn(12, 3, 12, 12), torch.zeros(12, dtype=torch.int64))
    verdict = judge("sensitivity_n", "xattr:input_x_gradient", subject, run)
    assert verdict.status == "not_applicable"
    assert str(verdict) == ("sensitivity_n: the model's output is the same whichever regions are removed")


class HalfDeaf(Deaf):
    """Hears only inputs that begin with a positive number."""

    def forward(self, inputs: Tensor) -> Tensor:
        rows = inputs.flatten(1)
        heard = (rows[:, :1] > 0) * rows.sum(1, keepdim=True)
        return self.logits * (1 + heard)


def test_an_input_on_which_nothing_changes_counts_as_zero(run: Run) -> None:
    inputs = torch.randn(12, 8)
    inputs[:, 0] = torch.where(torch.arange(12) < 6, 5.0, -5.0)
    subject = Subject("half", HalfDeaf(), inputs, torch.zeros(12, dtype=torch.int64))
    measurement, draw = measured("sensitivity_n", "xattr:constant", subject, run)
    assert (measurement.samples[draw.indices >= 6] == 0).all()


@pytest.mark.parametrize("regions", [1, 3])
def test_too_few_regions(regions: int, run: Run) -> None:
    subject = replace(images(), regions=(torch.arange(144) % regions).reshape(12, 12))
    verdict = judge("sensitivity_n", "xattr:gradient", subject, run)
    assert verdict.status == "not_applicable"
    assert str(verdict) == f"sensitivity_n: needs at least 4 regions, this subject has {regions}"


@pytest.mark.parametrize("check", FAITHFULNESS)
def test_a_control_does_not_beat_itself(check: str, run: Run) -> None:
    subject = sharp(images(count=32))
    found = {control: judge(check, f"xattr:{control}", subject, run).status for control in CONTROLS}
    assert found == dict.fromkeys(CONTROLS, "fail")


def test_a_constant_map_tells_nothing_about_regions(run: Run) -> None:
    subject = replace(sharp(images()), regions=torch.arange(144).reshape(12, 12) // 9)
    verdict = judge("sensitivity_n", "xattr:constant", subject, run)
    assert verdict.interval is not None
    assert (verdict.status, verdict.interval.value) == ("fail", 0)
    assert str(verdict).endswith(
        "the attribution is the same in all regions for 12 of 12 inputs, counted as 0"
    )


def test_where_single_pixels_say_nothing_regions_are_asked_for(run: Run) -> None:
    """Pixels that are left of solid spots look like the textures that count, whatever map they went by."""
    subject = load_subject("regression")
    verdict = judge("deletion", "xattr:gradient", subject, run)
    assert verdict.status == "invalid"
    assert str(verdict).endswith("says nothing about 'regression': ask deletion?by=regions")
    right = judge("deletion?by=regions&steps=6", "xattr:integrated_gradients", subject, run)
    negated = judge("deletion?by=regions&steps=6", BROKEN["negated"].on("negated", subject), subject, run)
    assert (right.status, negated.status) == ("pass", "fail")


def test_methods_are_asked_from_the_mean_where_zero_is_far_from_it(run: Run) -> None:
    known = {name: replace(load_method(f"xattr:{name}"), name=name) for name in ASKING}
    check, near = checks()["deletion"], columns(count=64)
    far = replace(near, inputs=near.inputs + 5)

    def asking(subject: Subject) -> list[Method]:
        return Controls(check, check.gate, subject, run, known).asking

    assert [one.name for one in asking(near)] == list(ASKING)
    assert [one.name for one in asking(far)] == [
        "gradient", "input_x_gradient", "integrated_gradients?baseline=mean", "occlusion?baseline=mean"
    ]  # fmt: skip
    inputs = far.inputs[:4]
    maps = asking(far)[-1].bind(far)(far.model, inputs, far.targets[:4])
    weights = far.model.weight[far.targets[:4]]
    assert torch.allclose(maps, weights * (inputs - far.mean), atol=1e-4)
