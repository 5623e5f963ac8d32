"""Checks on generated features of what is no image, on samples made by hand, against textbook versions."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

import xattr_check
from xattr_check import Measurement, Method, Subject, load_method
from xattr_check.core.explainer import Explainer
from xattr_check.core.run import Run

SHAPES = {"signal": (2, 12), "columns": (12,), "embeddings": (12, 3)}
CHECKS = xattr_check.checks()
each_layout = pytest.mark.parametrize("layout", SHAPES)


def derived(check: str, layout: str, count: int = 10) -> Subject:
    """What `on` of a check would make, with noise for features: three positions each."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(count, *SHAPES[layout], generator=generator)
    order = torch.rand(count, 12, generator=generator).argsort(1)
    masks = torch.zeros(count, 2, 12, dtype=torch.bool)
    for row in range(count):
        masks[row, 0, order[row, :3]] = masks[row, 1, order[row, 3:6]] = True
    truth = {"mask_a": masks[:, 0], "mask": masks[:, 0]}
    if check != "class_sensitivity_single":
        truth["mask_b"] = masks[:, 1]
    if check != "saturation":
        truth["other_target"] = torch.ones(count, dtype=torch.int64)
        truth["other_mask"] = truth.get("mask_b", torch.zeros_like(masks[:, 0]))
    model = nn.Sequential(nn.Flatten(), nn.Linear(inputs[0].numel(), 4))
    subject = Subject("noise", model, inputs, torch.zeros(count, dtype=torch.int64), layout=layout)
    maps = {name: subject.layout.maps(one) for name, one in truth.items() if name.startswith("mask_")}
    return replace(subject, truth={**truth, **maps})


def measure(check: str, subject: Subject, maps: Tensor, run: Run) -> tuple[Measurement, Tensor]:
    """A measurement of the method that returns maps (n, 4, *map_shape), and which inputs were drawn."""

    def look_up(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return maps[subject.locate(inputs), targets]

    method: Method = load_method(look_up)
    draw = next(run.draws(check, subject, CHECKS[check].inputs))
    return CHECKS[check].measure(Explainer.of(method, subject, run), subject, draw), draw.indices


def noise(subject: Subject) -> Tensor:
    shape = (len(subject.inputs), 4, *subject.layout.map_shape)
    return torch.randn(shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def on(scores: Tensor, mask: Tensor) -> float:
    """|Σ S| over a feature, by a loop."""
    pairs = zip(scores.flatten().tolist(), mask.flatten().tolist(), strict=True)
    return abs(sum(score for score, inside in pairs if inside))


@each_layout
def test_each_check_agrees_with_the_textbook(layout: str, run: Run) -> None:
    def null(a: Tensor, b: Tensor, masks: list[Tensor]) -> float:
        return on(a, masks[1]) / (on(a, masks[0]) + on(a, masks[1]))

    def double(a: Tensor, b: Tensor, masks: list[Tensor]) -> float:
        one, other = ([on(scores, mask) for mask in masks] for scores in (a, b))
        one, other = ([amount / sum(both) for amount in both] for both in (one, other))
        return sum(map(min, one, other)) / (one[0] + other[1])

    def single(a: Tensor, b: Tensor, masks: list[Tensor]) -> float:
        own, wrong = (on(scores, masks[0]) / float(scores.abs().sum()) + 1e-5 for scores in (a, b))
        return max(-1.0, min(1.0, math.log2(own / wrong)))

    def balance(a: Tensor, b: Tensor, masks: list[Tensor]) -> float:
        amounts = [on(a, mask) for mask in masks]
        return min(amounts) / max(amounts)

    textbook = {
        "null_feature": null,
        "class_sensitivity_double": double,
        "class_sensitivity_single": single,
        "saturation": balance,
    }
    for check, by_hand in textbook.items():
        subject = derived(check, layout)
        maps = noise(subject)
        found, rows = measure(check, subject, maps, run)
        names = sorted(name for name in subject.truth if name.startswith("mask_"))
        expected = [
            by_hand(maps[row, 0], maps[row, 1], [subject.truth[name][row] for name in names])
            for row in rows.tolist()
        ]
        assert found.samples.tolist() == pytest.approx(expected, abs=2e-6), check
        assert "composite" not in found.evidence


@each_layout
def test_parts_of_a_null_feature_that_cancel_are_none_of_the_attribution(layout: str, run: Run) -> None:
    subject = derived("null_feature", layout)
    maps = torch.zeros_like(noise(subject))
    shown = maps.flatten(2)
    for row in range(len(maps)):
        inside = [subject.truth[name][row].flatten().nonzero().squeeze(1) for name in ("mask_a", "mask_b")]
        shown[row, :, inside[0]] = 1.0
        shown[row, :, inside[1]] = torch.tensor([5.0, -2.0, -3.0]).double()
    found, _ = measure("null_feature", subject, maps, run)
    assert found.samples.abs().max() == 0


@each_layout
@pytest.mark.parametrize(
    ("check", "value"),
    [
        ("null_feature", 0.5),
        ("class_sensitivity_double", 1.0),
        ("class_sensitivity_single", 0.0),
        ("saturation", 0.0),
    ],
)
def test_a_map_of_zeros_says_nothing(layout: str, check: str, value: float, run: Run) -> None:
    subject = derived(check, layout)
    found, _ = measure(check, subject, torch.zeros_like(noise(subject)), run)
    assert (found.samples == value).all()


@each_layout
def test_one_map_under_two_scales_does_not_know_the_class(layout: str, run: Run) -> None:
    for check, value in (("class_sensitivity_double", 1.0), ("class_sensitivity_single", 0.0)):
        subject = derived(check, layout)
        maps = noise(subject)[:, :1].abs() * torch.tensor([5.0, 1, 1, 1]).reshape(
            1, 4, *[1] * len(subject.layout.map_shape)
        )
        found, _ = measure(check, subject, maps, run)
        assert found.samples.tolist() == pytest.approx([value] * len(found.samples), abs=1e-4)


def test_with_one_feature_the_verdict_advises() -> None:
    advisory = CHECKS["class_sensitivity_single"].advisory
    assert set(advisory) == {"image", "third_class"}
    others = ("null_feature", "class_sensitivity_double", "saturation")
    assert all(not CHECKS[name].advisory for name in others)
    assert all("image" not in CHECKS[name].needs for name in (*others, "class_sensitivity_single"))


@pytest.mark.parametrize(
    ("classes", "output", "there"), [(2, "classes", False), (3, "classes", True), (2, "labels", True)]
)
def test_of_two_classes_there_is_no_third(classes: int, output: str, there: bool) -> None:
    model = nn.Sequential(nn.Flatten(), nn.Linear(27, classes))
    subject = Subject("any", model, torch.randn(4, 3, 3, 3), torch.zeros(4, dtype=torch.int64), output=output)
    assert ("third_class" in subject.offers) == there
