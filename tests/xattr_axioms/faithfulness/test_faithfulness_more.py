"""The standard faithfulness checks against loops over single images, and what they are for."""

import math
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from typing import Any, get_args

import numpy as np
import pytest
import torch
from judging import judge, measured
from subjects import columns, images, sharp, tokens
from torch import Tensor, nn

import xattr_check
from xattr_axioms.faithfulness.completeness_soundness import LEAST
from xattr_axioms.faithfulness.infidelity import PARTS, random_parts
from xattr_axioms.faithfulness.road import SHARES
from xattr_check import Subject, load_method
from xattr_check.core.run import Draw, Run
from xattr_check.core.units import By
from xattr_check.perturbation.fills import REMOVED, Fill, absent
from xattr_check.perturbation.subsets import random_subsets

KNOWN = xattr_check.checks()
CURVES = ("degradation", "top_bottom_masking", "road")


SUBJECTS: dict[str, Callable[[], Subject]] = {
    "images": lambda: sharp(images()),
    "columns": lambda: sharp(columns()),
    "tokens": lambda: sharp(tokens()),
}


def maps_of(method: str, subject: Subject, draw: Draw, targets: Tensor | None = None) -> Tensor:
    """(n, P): magnitudes for a sensitivity, summed over channels."""
    found = load_method(method)
    maps = found(subject.model, draw.inputs, draw.targets if targets is None else targets).double()
    maps = maps.abs() if found.sensitivity else maps
    if maps.ndim > 2:
        maps = maps.sum(1 if maps.ndim == 4 else -1)
    return maps.flatten(1)


@torch.no_grad()
def slow_probability(
    subject: Subject, row: Tensor, fill: Any, target: int, score: Tensor, first: float, last: float
) -> float:
    """The probability with the features of some ranks left, one input at a time."""
    order = score.argsort(descending=True, stable=True)
    keep = torch.zeros(len(score), dtype=torch.bool)
    keep[order[round(first * len(score)) : round(last * len(score))]] = True
    keep = keep.reshape(subject.spatial)
    shaped = keep[None, None] if subject.is_image else keep[None, :, None] if row.ndim == 2 else keep[None]
    other = fill(shaped) if callable(fill) else fill[None]
    return float(subject.model(torch.where(shaped, row[None], other)).softmax(1)[0, target])


def slow_rows(spec: str, subject: Subject, draw: Draw, method: str) -> list[float]:
    name = spec.partition("?")[0]
    kind = "imputed" if name == "road" else "mean"
    fill = absent(kind, subject, draw)
    rows = []
    for index, (row, target) in enumerate(zip(draw.inputs, draw.targets.tolist(), strict=True)):
        score = maps_of(method, subject, draw)[index]
        own = fill[index] if isinstance(fill, Tensor) else lambda keep: fill(torch.tensor([index]), keep)  # noqa: B023

        def left(first: float, last: float) -> float:
            return slow_probability(subject, row, own, target, score, first, last)  # noqa: B023

        if name == "road":
            numbers = sorted({round(share * len(score)) for share in SHARES})
            rows.append(float(np.mean([left(number / len(score), 1) for number in numbers])))
        elif name == "top_bottom_masking":
            rows.append(left(0, 0.8) - left(0.2, 1))
        else:
            whole = left(0, 1)
            shares = sorted({round(step / 16 * len(score)) / len(score) for step in range(17)})
            widths = [after - before for before, after in pairwise(shares)]
            areas = []
            for curve in ([left(s, 1) for s in shares], [left(0, 1 - s) for s in shares]):
                change = [abs(whole - one) / max(whole, one) for one in curve]
                areas.append(sum(w * sum(ends) / 2 for w, ends in zip(widths, pairwise(change), strict=True)))
            by_order = {"": areas[0] - areas[1], "morf": areas[0], "lerf": 1 - areas[1]}
            rows.append(by_order[spec.partition("order=")[2]])
    return rows


@pytest.mark.parametrize("kind", SUBJECTS)
def test_ranked_checks_by_a_loop(kind: str, run: Run) -> None:
    subject, method = SUBJECTS[kind](), "xattr:input_x_gradient"
    for spec in (*CURVES, "degradation?order=morf", "degradation?order=lerf"):
        if spec == "road" and not subject.is_image:
            assert judge(spec, method, subject, run).status == "not_applicable"
            continue
        measurement, draw = measured(spec, method, subject, run)
        expected = slow_rows(spec, subject, draw, method)
        assert measurement.samples.tolist() == pytest.approx(expected, abs=1e-4), spec


def test_road_counts_the_right_ones(run: Run) -> None:
    subject = sharp(images())
    measurement, draw = measured("road?output=correct", "xattr:random", subject, run)
    found = measurement.evidence["curve"]
    assert set(found.flatten().tolist()) <= {0.0, 1.0}
    assert found.shape == (len(draw.inputs), len(SHARES))


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("road", "mean probability of the target while the top features are imputed from those around them"),
        (
            "road?fill=mean",
            "mean probability of the target while the top features are replaced by the data's mean",
        ),
        ("road?fill=blur&output=correct", "mean accuracy while the top features are blurred"),
        (
            "degradation?order=morf",
            "mean area under the output's change, the most relevant features removed first",
        ),
        (
            "sensitivity_n?by=pixels",
            "mean correlation of attribution sums with output changes over random sets of pixels",
        ),
    ],
)
def test_the_sentence_tells_what_was_asked_for(spec: str, told: str, run: Run) -> None:
    verdict = judge(spec, "xattr:gradient", sharp(images()), run)
    assert f"] {told}" in str(verdict)
    assert KNOWN[spec.partition("?")[0]].reading(spec) == told


def test_what_a_sentence_tells_of_a_parameter_is_one() -> None:
    """Every value that it may have, so that none is told by another's words."""
    assert set(REMOVED) == set(get_args(Fill))
    for name, check in KNOWN.items():
        assert "{" not in check.reading(), name
        for option, words in check.words.items():
            assert f"{{{option}}}" in check.reads, (name, option)
            choices = get_args(check.options[option].annotation)
            assert set(words) in (set(), set(choices)), (name, option)


@torch.no_grad()
def slow_changes(subject: Subject, row: Tensor, target: int, fill: Tensor, removed: Tensor) -> np.ndarray:
    """Fall of the logit without each of the sets (K, *spatial)."""
    whole, found = float(subject.model(row[None])[0, target]), []
    for one in removed:
        shaped = one[None] if subject.is_image else one[:, None] if row.ndim == 2 else one
        found.append(whole - float(subject.model(torch.where(shaped, fill, row)[None])[0, target]))
    return np.array(found)


@pytest.mark.parametrize("kind", SUBJECTS)
def test_faithfulness_correlation_by_a_loop(kind: str, run: Run) -> None:
    subject, method = SUBJECTS[kind](), "xattr:input_x_gradient"
    spec = "faithfulness_correlation?size=0.4&subsets=8"
    measurement, draw = measured(spec, method, subject, run)
    scores, fill = maps_of(method, subject, draw), absent("mean", subject, draw)
    assert isinstance(fill, Tensor)
    count = scores.shape[1]
    for index, (row, target) in enumerate(zip(draw.inputs, draw.targets.tolist(), strict=True)):
        generator = draw.generator("subsets", int(draw.indices[index]))
        removed = random_subsets(8, round(0.4 * count), count, generator)
        changes = slow_changes(subject, row, target, fill[index], removed.reshape(8, *subject.spatial))
        sums = [float(scores[index][one].sum()) for one in removed]
        expected = np.corrcoef(sums, changes)[0, 1]
        assert float(measurement.samples[index]) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("method", ["xattr:input_x_gradient", "xattr:gradient"])
@pytest.mark.parametrize("kind", SUBJECTS)
def test_infidelity_by_a_loop(kind: str, method: str, run: Run) -> None:
    """Least squares for the factor, and 1 where it would be negative."""
    subject = SUBJECTS[kind]()
    measurement, draw = measured("infidelity", method, subject, run)
    fill = absent("mean", subject, draw)
    assert isinstance(fill, Tensor)
    maps = load_method(method)(subject.model, draw.inputs, draw.targets).double()
    if load_method(method).sensitivity:
        maps = maps * (draw.inputs - fill)
    removed = random_parts(subject, "pixels", math.prod(subject.spatial), PARTS, draw.generator("parts"))
    removed = removed.reshape(PARTS, *subject.spatial)
    for index, (row, target) in enumerate(zip(draw.inputs, draw.targets.tolist(), strict=True)):
        changes = slow_changes(subject, row, target, fill[index], removed)
        shaped = removed[:, None] if subject.is_image else removed[..., None] if row.ndim == 2 else removed
        sums = (maps[index] * shaped).flatten(1).sum(1).numpy()
        factor = max(0.0, np.linalg.lstsq(sums[:, None], changes, rcond=None)[0][0])
        expected = np.mean((changes - factor * sums) ** 2) / np.mean(changes**2)
        assert float(measurement.samples[index]) == pytest.approx(expected, abs=1e-4)


def test_squares_lie_anywhere_within_an_image() -> None:
    parts = random_parts(images(), "pixels", 144, 4000, torch.Generator().manual_seed(0))
    assert bool((parts.sum(1) == 9).all())
    assert len(parts.unique(dim=0)) == 100


def test_parts_by_channels_and_by_regions() -> None:
    generator = torch.Generator().manual_seed(0)
    squares = random_parts(images(), "channels", 432, 4000, generator).reshape(-1, 3, 144)
    assert bool((squares.any(2).sum(1) == 1).all())
    assert len(squares.flatten(1).unique(dim=0)) == 300
    assert bool((random_parts(images(), "regions", 64, 100, generator).sum(1) == 4).all())
    assert bool((random_parts(images(), "regions", 9, 100, generator).sum(1) == 1).all())


@pytest.mark.parametrize("by", ["channels", "regions"])
def test_infidelity_by_other_units_by_a_loop(by: By, run: Run) -> None:
    subject = sharp(images())
    measurement, draw = measured(f"infidelity?by={by}", "xattr:input_x_gradient", subject, run)
    fill = absent("mean", subject, draw)
    assert isinstance(fill, Tensor)
    maps = load_method("xattr:input_x_gradient")(subject.model, draw.inputs, draw.targets).double()
    group, count = groups(by)
    parts = random_parts(subject, by, count, PARTS, draw.generator("parts"))
    for index, (row, target) in enumerate(zip(draw.inputs, draw.targets.tolist(), strict=True)):
        changes, sums = [], []
        for part in parts:
            where = torch.isin(group, part.nonzero())
            with torch.no_grad():
                both = subject.model(torch.stack([row, torch.where(where, fill[index], row)]))[:, target]
            changes.append(float(both[0] - both[1]))
            sums.append(float(maps[index][where].sum()))
        factor = max(0.0, np.linalg.lstsq(np.array(sums)[:, None], np.array(changes), rcond=None)[0][0])
        left = np.array(changes) - factor * np.array(sums)
        expected = np.mean(left**2) / np.mean(np.square(changes))
        assert float(measurement.samples[index]) == pytest.approx(expected, abs=1e-4)


def test_the_scale_of_a_map_does_not_matter_but_its_sign_does(run: Run) -> None:
    subject = sharp(images())

    def scaled(factor: float) -> Tensor:
        def explain(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
            return factor * load_method("xattr:occlusion")(model, inputs, targets)

        return measured("infidelity", explain, subject, run)[0].samples

    torch.testing.assert_close(scaled(1), scaled(1000))
    assert float(scaled(1).mean()) < 0.9
    right = scaled(1) < 1
    assert bool((scaled(-1)[right] == 1).all())


def test_infidelity_is_zero_where_the_model_is_linear(run: Run) -> None:
    plain = columns(count=64)
    subject = replace(plain, inputs=plain.inputs - plain.inputs.mean(0))
    for method in ("xattr:input_x_gradient", "xattr:gradient"):
        assert float(measured("infidelity", method, subject, run)[0].samples.max()) < 1e-6


@pytest.mark.parametrize("kind", SUBJECTS)
def test_completeness_and_soundness_by_a_loop(kind: str, run: Run) -> None:
    subject, method = SUBJECTS[kind](), "xattr:input_x_gradient"
    measurement, draw = measured("completeness_soundness?steps=4", method, subject, run)
    fill = absent("mean", subject, draw)
    assert isinstance(fill, Tensor)
    labels = subject.model(subject.inputs[:1]).shape[1]
    scores = [maps_of(method, subject, draw, torch.full_like(draw.targets, label)) for label in range(labels)]
    count = scores[0].shape[1]
    shares = sorted({round(step / 4 * count) / count for step in range(5)})
    widths = [after - before for before, after in pairwise(shares)]
    for index, row in enumerate(draw.inputs):
        alphas, betas = [], []
        for label in range(labels):
            curve = [
                slow_probability(subject, row, fill[index], label, scores[label][index], 0, share)
                for share in shares
            ]
            seen = curve[-1]
            shown = sum(width * sum(ends) / 2 for width, ends in zip(widths, pairwise(curve), strict=True))
            alphas.append(min(1, max(shown, LEAST) / seen))
            betas.append(min(1, max(seen, LEAST) / shown))
        assert float(measurement.evidence["completeness"][index]) == pytest.approx(min(alphas), abs=1e-4)
        assert float(measurement.evidence["soundness"][index]) == pytest.approx(min(betas), abs=1e-4)
        found = float(measurement.samples[index])
        assert found == pytest.approx(min(*alphas, *betas), abs=1e-4)


def test_of_many_labels_the_likeliest_are_asked(run: Run) -> None:
    subject = sharp(images())
    measurement, draw = measured("completeness_soundness?labels=2", "xattr:gradient", subject, run)
    with torch.no_grad():
        likely = subject.model(draw.inputs).softmax(1).double().topk(2).values
    assert measurement.evidence["seen"].numpy() == pytest.approx(likely.numpy(), abs=1e-5)


def test_soundness_gates_only_who_claims_it(run: Run) -> None:
    subject = sharp(images())
    assert not judge("completeness_soundness", "xattr:random", subject, run).failed
    claimed = frozenset({"completeness_soundness"})
    verdict = judge("completeness_soundness", "xattr:random", subject, run, claims=claimed)
    assert verdict.status == "fail"
    assert verdict.failed
    assert "completeness 0." in str(verdict)


@pytest.mark.parametrize("check", ["degradation", "top_bottom_masking", "road", "completeness_soundness"])
def test_nothing_to_rank_for(check: str, run: Run) -> None:
    """Where the model does not care, nothing is said."""
    subject = images()
    for parameter in subject.model.parameters():
        parameter.data.zero_()
    verdict = judge(check, "xattr:gradient", subject, run)
    assert verdict.status == "not_applicable"
    assert "the target's probability falls by 0.00 on average, and should by 0.1" in str(verdict)


@pytest.mark.parametrize("check", ["faithfulness_correlation", "infidelity"])
def test_nothing_changes(check: str, run: Run) -> None:
    subject = images()
    for parameter in subject.model.parameters():
        parameter.data.zero_()
    verdict = judge(check, "xattr:gradient", subject, run)
    assert verdict.status == "not_applicable"
    assert str(verdict).endswith("the model's output is the same whichever regions are removed")


VARIANTS = [
    *(f"deletion?fill={fill}" for fill in ("zero", "noise", "imputed", "blur")),
    "road?fill=mean",
    *(f"{check}?by={by}" for check in ("insertion", "degradation") for by in ("channels", "regions")),
    "top_bottom_masking?by=regions&share=0.1",
    "sensitivity_n?fill=zero&by=pixels",
    "faithfulness_correlation?fill=imputed&by=channels&subsets=8",
    "infidelity?fill=noise",
    *(f"infidelity?by={by}" for by in ("channels", "regions")),
]


def test_variants_are_judged_under_their_own_name(run: Run) -> None:
    for spec in VARIANTS:
        verdict = judge(spec, "xattr:occlusion", sharp(images()), run)
        assert verdict.status in ("pass", "fail", "undecided"), str(verdict)
        assert verdict.record()["check"] == spec
        assert verdict.node_id.endswith(f"::{spec}")


@pytest.mark.parametrize("spec", ["deletion?by=channels", "deletion?by=pixels", "deletion?by=regions"])
def test_units_by_a_loop(spec: str, run: Run) -> None:
    """Removal of half of the units, ranked by the sums of their maps."""
    subject = sharp(images())
    measurement, draw = measured(f"{spec}&steps=2", "xattr:input_x_gradient", subject, run)
    maps = load_method("xattr:input_x_gradient")(subject.model, draw.inputs, draw.targets).double()
    fill = absent("mean", subject, draw)
    assert isinstance(fill, Tensor)
    for index, row in enumerate(draw.inputs):
        image, (group, shape) = row.clone(), groups(spec.partition("by=")[2])
        sums = [float((maps[index] * (group == unit)).sum()) for unit in range(shape)]
        for unit in sorted(range(shape), key=lambda unit: -sums[unit])[: round(shape / 2)]:
            image = torch.where(group == unit, fill[index], image)
        with torch.no_grad():
            expected = float(subject.model(image[None]).softmax(1)[0, draw.targets[index]])
        assert float(measurement.evidence["curve"][index, 1]) == pytest.approx(expected, abs=1e-4)


def groups(by: str) -> tuple[Tensor, int]:
    """(3, 12, 12) the unit of each number, and how many there are."""
    if by == "channels":
        return torch.arange(432).reshape(3, 12, 12), 432
    pixels = torch.arange(144).reshape(1, 12, 12).expand(3, 12, 12)
    if by == "pixels":
        return pixels, 144
    rows = torch.arange(12) * 8 // 12
    return (rows[:, None] * 8 + rows)[None].expand(3, 12, 12), 64
