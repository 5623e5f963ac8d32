"""Checks on generated features, on samples made by hand: what the model does with them is not asked here."""

import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
import torch
from judging import item_of
from scipy import stats
from subjects import images
from torch import Tensor, nn

import xattr_check
from xattr_axioms.generated.class_sensitivity_single import correlation_over_samples
from xattr_check import Measurement, Method, Subject, Verdict, load_method
from xattr_check.core.checks import Axiom
from xattr_check.core.explainer import Explainer
from xattr_check.core.run import Run

SIDE, PATCH = 16, 4
NAMES = ("null_feature", "class_sensitivity_double", "class_sensitivity_single", "saturation")
CHECKS = {name: xattr_check.checks()[name] for name in NAMES}
NEGATIVE = ("random", "edges", "input_magnitude", "center", "constant")
FEATURES = {"null_feature": 2, "class_sensitivity_double": 2, "class_sensitivity_single": 1, "saturation": 2}


def places(count: int, features: int, generator: torch.Generator) -> Tensor:
    """(count, features, 1, H, W) bool: patches at random cells of a grid, no two on the same."""
    cells = SIDE // PATCH
    masks = torch.zeros(count, features, 1, SIDE, SIDE, dtype=torch.bool)
    for row in range(count):
        chosen = torch.randperm(cells * cells, generator=generator)[:features].tolist()
        for feature, cell in enumerate(chosen):
            top, left = PATCH * (cell // cells), PATCH * (cell % cells)
            masks[row, feature, :, top : top + PATCH, left : left + PATCH] = True
    return masks


def derived(check: str, count: int = 12, features: int | None = None, seed: int = 0) -> Subject:
    """What `on` of a check would make, with noise for features."""
    generator = torch.Generator().manual_seed(seed)
    masks = places(count, features or FEATURES[check], generator)
    inputs = torch.randn(count, 3, SIDE, SIDE, generator=generator)
    targets = torch.randint(5, (count,), generator=generator)
    truth = {f"mask_{'abcd'[feature]}": masks[:, feature] for feature in range(masks.shape[1])}
    truth["mask"] = masks.any(1) if check == "saturation" else masks[:, 0]
    if check != "saturation":
        truth["other_target"] = (targets + 1 + torch.randint(4, (count,), generator=generator)) % 5
        single = check == "class_sensitivity_single"
        truth["other_mask"] = torch.zeros_like(masks[:, 0]) if single else masks[:, 1]
    return Subject("noise", images().model, inputs, targets, truth=truth, causal=True)


def fixed(subject: Subject, maps: Tensor, **options: bool) -> Method:
    """The method that returns maps (n, 5, C, H, W): one for each of a subject's inputs and each target."""

    def look_up(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return maps[subject.locate(inputs), targets]

    return replace(load_method(look_up), **options)  # type: ignore[arg-type]


def noise(subject: Subject, channels: int = 3, seed: int = 1) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    shape = (len(subject.inputs), 5, channels, SIDE, SIDE)
    return torch.randn(shape, generator=generator, dtype=torch.float64)


def measure(check: str, subject: Subject, method: Method, run: Run) -> tuple[Measurement, Tensor]:
    """A measurement of one draw, and which of the subject's inputs were drawn."""
    draw = next(run.draws(check, subject, CHECKS[check].inputs))
    return CHECKS[check].measure(Explainer.of(method, subject, run), subject, draw), draw.indices


def pixels(mask: Tensor) -> Iterator[tuple[int, int]]:
    for i in range(SIDE):
        for j in range(SIDE):
            if bool(mask[0, i, j]):
                yield i, j


def total(scores: Tensor, mask: Tensor) -> float:
    return sum(abs(float(scores[i, j])) for i, j in pixels(mask))


def whole(scores: Tensor, mask: Tensor) -> float:
    return abs(sum(float(scores[i, j]) for i, j in pixels(mask)))


def other(subject: Subject, row: int) -> int:
    return int(subject.truth["other_target"][row])


@pytest.mark.parametrize("sensitivity", [False, True])
@pytest.mark.parametrize("features", [2, 3, 4])
def test_null_feature_agrees_with_the_textbook(features: int, sensitivity: bool, run: Run) -> None:
    """The ratio is signed also where the sign is a direction; the share is of whole features."""
    subject = derived("null_feature", features=features)
    maps = noise(subject)
    found, rows = measure("null_feature", subject, fixed(subject, maps, sensitivity=sensitivity), run)
    expected, by_pixel, ratios = [], [], []
    for row in rows.tolist():
        scores = maps[row, int(subject.targets[row])].sum(0)
        sizes = maps[row, int(subject.targets[row])].abs().sum(0) if sensitivity else scores
        mine = subject.truth["mask_a"][row]
        others = [subject.truth[f"mask_{letter}"][row] for letter in "bcd"[: features - 1]]
        for amount, shares in ((whole, expected), (total, by_pixel)):
            null = sum(amount(sizes, mask) for mask in others) / len(others)
            shares.append(null / (null + amount(sizes, mine)))
        signed = [float(scores[mask[0]].sum()) for mask in others]
        ratios.append(sum(signed) / len(others) / float(scores[subject.truth["mask_a"][row][0]].sum()))
    assert found.samples.tolist() == pytest.approx(expected)
    assert found.evidence["pixel_share"].tolist() == pytest.approx(by_pixel)
    assert found.evidence["signed_ratio"].tolist() == pytest.approx(ratios)
    ratio = float(found.evidence["signed_ratio"].nanmedian())
    assert found.finding == (
        f"signed, the sum on it is {ratio:.2f} of that on the one that makes the target; pixel by pixel, "
        f"which is not judged, it gets {sum(by_pixel) / len(by_pixel):.2f} of the magnitude"
    )


def test_class_sensitivity_double_agrees_with_the_textbook(run: Run) -> None:
    subject = derived("class_sensitivity_double")
    maps = noise(subject)
    found, rows = measure("class_sensitivity_double", subject, fixed(subject, maps), run)

    def overlap(pair: list[Tensor], masks: list[Tensor]) -> float:
        both = sum(min(float(pair[0][i, j]), float(pair[1][i, j])) for mask in masks for i, j in pixels(mask))
        return both / (total(pair[0], masks[0]) + total(pair[1], masks[1]))

    expected, by_pixel, published, pointed = [], [], [], []
    for row in rows.tolist():
        masks = [subject.truth[name][row] for name in ("mask_a", "mask_b")]
        signed = [maps[row, t].sum(0) for t in (int(subject.targets[row]), other(subject, row))]
        tops = [divmod(int(scores.argmax()), SIDE) for scores in signed]
        hits = [
            any(max(abs(i - y), abs(j - x)) <= 1 for i, j in pixels(mask))  # a sixteenth of the side
            for (y, x), mask in zip(tops, masks, strict=True)
        ]
        pointed.append(sum(hits) / 2)
        pair = [scores.abs() for scores in signed]
        published.append(overlap(pair, masks))
        pair = [scores / (total(scores, masks[0]) + total(scores, masks[1])) for scores in pair]
        by_pixel.append(overlap(pair, masks))
        (aa, ab), (ba, bb) = ([whole(scores, mask) for mask in masks] for scores in signed)
        (aa, ab), (ba, bb) = (aa / (aa + ab), ab / (aa + ab)), (ba / (ba + bb), bb / (ba + bb))
        expected.append((min(aa, ba) + min(ab, bb)) / (aa + bb))
    assert found.samples.tolist() == pytest.approx(expected)
    assert found.evidence["pixel_overlap"].tolist() == pytest.approx(by_pixel)
    assert found.evidence["published_overlap"].tolist() == pytest.approx(published)
    assert found.evidence["pointing_game"].tolist() == pointed
    assert sum(pointed) > 0


def test_class_sensitivity_single_agrees_with_the_textbook(run: Run) -> None:
    subject = derived("class_sensitivity_single")
    maps = noise(subject)
    found, rows = measure("class_sensitivity_single", subject, fixed(subject, maps), run)
    expected = []
    for row in rows.tolist():
        mask, ratios = subject.truth["mask_a"][row], []
        for target in (int(subject.targets[row]), other(subject, row)):
            scores = maps[row, target].sum(0)
            scores = scores / float(scores.abs().mean())
            inside = total(scores, mask) / PATCH**2
            outside = total(scores, ~mask) / (SIDE**2 - PATCH**2)
            ratios.append((inside + 1e-5) / (outside + 1e-5))
        expected.append(ratios)
    doublings = [max(-1.0, min(1.0, math.log2(own / wrong))) for own, wrong in expected]
    assert found.samples.tolist() == pytest.approx(doublings, abs=1e-5)
    one, two = zip(*expected, strict=True)
    assert float(found.evidence["published"]) == pytest.approx(stats.spearmanr(one, two).statistic)


def test_noise_of_each_class_is_no_class_sensitivity(run: Run) -> None:
    """It has no correlation over the samples, as the paper asks, and gives no feature more for its class."""
    subject = derived("class_sensitivity_single", count=128)
    found = item_of(
        fixed(subject, noise(subject)),
        replace(CHECKS["class_sensitivity_single"], on=lambda given, run: subject),
        images(),
    ).judge(run)
    assert found.status in ("fail", "undecided")
    assert found.interval is not None
    assert abs(found.interval.value) < 0.1
    assert abs(float(found.evidence["published"])) < 0.5


@pytest.mark.parametrize("features", [2, 3])
def test_saturation_agrees_with_the_textbook(features: int, run: Run) -> None:
    subject = derived("saturation", features=features)
    maps = noise(subject)
    found, rows = measure("saturation", subject, fixed(subject, maps), run)
    sums = []
    for row in rows.tolist():
        scores = maps[row, int(subject.targets[row])].sum(0)
        sums.append([total(scores, subject.truth[f"mask_{letter}"][row]) for letter in "abc"[:features]])
    assert found.samples.tolist() == pytest.approx([min(one) / max(one) for one in sums])
    columns = list(zip(*sums, strict=True))
    correlations = [stats.spearmanr(one, two).statistic for one, two in combinations(columns, 2)]
    assert found.evidence["spearman"].tolist() == pytest.approx(correlations)


@pytest.mark.parametrize("check", NAMES)
def test_scale_does_not_matter(check: str, run: Run) -> None:
    """Not even another one for each target."""
    subject = derived(check)
    maps = noise(subject)
    by_target = torch.arange(1, 6, dtype=torch.float64)[:, None, None, None]
    before, _ = measure(check, subject, fixed(subject, maps), run)
    for scale in (1e-20, 0.01, -1.0, 1e20):
        after, _ = measure(check, subject, fixed(subject, scale * by_target * maps), run)
        torch.testing.assert_close(after.samples, before.samples)


@pytest.mark.parametrize("check", NAMES)
def test_a_sensitivity_is_read_by_its_magnitude(check: str, run: Run) -> None:
    subject = derived(check)
    maps = noise(subject)
    signed, _ = measure(check, subject, fixed(subject, maps.abs()), run)
    declared, _ = measure(check, subject, fixed(subject, maps, sensitivity=True), run)
    torch.testing.assert_close(declared.samples, signed.samples)


def test_maps_of_zeros(run: Run) -> None:
    expected = {
        "null_feature": ([0.5] * 12, "zero on the features of 12 of 12 samples, counted as ½"),
        "class_sensitivity_double": ([1.0] * 12, "zero on the features of 12 of 12 samples, counted as 1"),
        "saturation": ([0.0] * 12, "zero on the features of 12 of 12 samples, counted as 0"),
    }
    for check, (samples, finding) in expected.items():
        subject = derived(check)
        found, _ = measure(check, subject, fixed(subject, torch.zeros_like(noise(subject))), run)
        assert found.samples.tolist() == samples
        assert found.finding == finding
    subject = derived("class_sensitivity_single")
    found, _ = measure(
        "class_sensitivity_single", subject, fixed(subject, torch.zeros_like(noise(subject))), run
    )
    assert found.samples.tolist() == [0.0] * 12
    assert float(found.evidence["published"]) == 1.0


def shown(subject: Subject, own: str, wrong: str) -> Tensor:
    """Maps of the target that show the one mask, and of the other class that show the other."""
    maps = torch.zeros(len(subject.inputs), 5, 1, SIDE, SIDE)
    for row in range(len(maps)):
        maps[row, int(subject.targets[row])] = subject.truth[own][row].float()
        maps[row, other(subject, row)] = subject.truth[wrong][row].float()
    return maps


def test_what_cancels_within_a_feature_is_not_on_it(run: Run) -> None:
    """Nothing is certified of the pixels of a feature: they do act, and cancel."""
    subject = derived("null_feature")
    maps = torch.zeros(len(subject.inputs), 5, 1, SIDE, SIDE)
    sign = torch.where(torch.arange(SIDE) % 2 == 0, 1.0, -1.0).expand(SIDE, SIDE)
    for row, target in enumerate(subject.targets.tolist()):
        null = subject.truth["mask_b"][row] * sign
        maps[row, target] = subject.truth["mask_a"][row] + 3 * null
    found, _ = measure("null_feature", subject, fixed(subject, maps), run)
    assert found.samples.tolist() == [0.0] * 12
    assert found.evidence["pixel_share"].tolist() == pytest.approx([0.75] * 12)


def test_the_other_classes_feature_is_no_class_sensitivity(run: Run) -> None:
    subject = derived("class_sensitivity_double")
    found, _ = measure(
        "class_sensitivity_double", subject, fixed(subject, shown(subject, "mask_b", "mask_a")), run
    )
    assert found.samples.tolist() == [1.0] * 12


def test_a_map_for_one_class_alone_is_no_class_sensitivity(run: Run) -> None:
    subject = derived("class_sensitivity_double")
    maps = shown(subject, "mask_a", "mask_b")
    maps[0, int(subject.targets[0])] = 0
    maps[1, other(subject, 1)] = 0
    found, rows = measure("class_sensitivity_double", subject, fixed(subject, maps), run)
    assert sorted(rows[found.samples == 1].tolist()) == [0, 1]
    assert found.finding == "zero on the features of 2 of 12 samples, counted as 1"


@pytest.mark.parametrize(
    ("check", "blind"), [("class_sensitivity_double", 1.0), ("class_sensitivity_single", 0.0)]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_one_map_for_all_classes_is_blind_whatever_its_scale(
    check: str, blind: float, channels: int, run: Run
) -> None:
    subject = derived(check)
    levels = torch.tensor([1.0, 0.01, 3.0, -0.7, 1e-6], dtype=torch.float64)[:, None, None, None]
    one = noise(subject, channels)[:, :1]
    for maps in (one, torch.ones_like(one), torch.ones_like(one).float()):
        found, _ = measure(check, subject, fixed(subject, (levels * maps).to(maps)), run)
        assert CHECKS[check].value(found.samples) == pytest.approx(blind, abs=1e-5)


def test_correlation_over_samples() -> None:
    generator = torch.Generator().manual_seed(0)
    varied, level = torch.randn(30, generator=generator), torch.full((30,), 2.0)
    columns = {
        (varied, varied): 1.0,
        (varied, -varied): -1.0,
        (level, level): 1.0,
        (level, level + 1): 0.0,
        (level, varied): 0.0,
        (varied, level): 0.0,
    }
    found = [float(correlation_over_samples(*pair)) for pair in columns]
    assert found == pytest.approx(list(columns.values()))


@pytest.mark.parametrize("check", NAMES)
def test_evidence_for_pictures(check: str, run: Run) -> None:
    subject = derived(check)
    maps = noise(subject)
    found, rows = measure(check, subject, fixed(subject, maps), run)
    evidence, first = found.evidence, rows[:4]
    assert torch.equal(evidence["composite"], subject.inputs[first])
    assert torch.equal(evidence["target_a"], subject.targets[first])
    torch.testing.assert_close(evidence["map_a"], maps[first, subject.targets[first]].sum(1))
    masks = {"mask_a", "mask_b"} if FEATURES[check] == 2 else {"mask_a"}
    assert {name for name in evidence if name.startswith("mask")} == masks
    for name in masks:
        assert torch.equal(evidence[name], subject.truth[name][first])
    if check == "saturation":
        assert torch.equal(evidence["target_b"], subject.targets[first])
        assert "map_b" not in evidence
    else:
        others = subject.truth["other_target"][first]
        assert torch.equal(evidence["target_b"], others)
        torch.testing.assert_close(evidence["map_b"], maps[first, others].sum(1))


Judge = Callable[[Any, str], Verdict]


@pytest.fixture
def samples() -> dict[str, Subject]:
    """Samples made by hand for each check."""
    return {name: derived(name, count=128) for name in NAMES}


@pytest.fixture
def judge(samples: dict[str, Subject], run: Run) -> Judge:
    """The verdict on a method by a check on those samples."""

    def on(name: str) -> Axiom:
        return replace(CHECKS[name], on=lambda subject, run: samples[name])

    checks = {name: on(name) for name in NAMES}
    subject = images()
    return lambda method, check: item_of(method, check, subject, known=checks).judge(run)


def test_the_oracle_passes(judge: Judge) -> None:
    found = [judge("xattr:oracle", name) for name in NAMES]
    assert [verdict.status for verdict in found] == ["pass"] * 4, [str(verdict) for verdict in found]
    assert [verdict.interval.value for verdict in found if verdict.interval] == [0, 0, 1, 1]


def test_controls_fail(judge: Judge) -> None:
    for name in NEGATIVE:
        found = [judge(f"xattr:{name}", check) for check in NAMES[:3]]
        assert [verdict.status for verdict in found] == ["fail"] * 3, [str(verdict) for verdict in found]
        assert set(found[0].controls) == {*NEGATIVE, "oracle"}


def test_saturation_says_nothing_of_what_attributes_to_everything(judge: Judge) -> None:
    found = {name: judge(f"xattr:{name}", "saturation") for name in NEGATIVE}
    assert {verdict.status for verdict in found.values()} <= {"not_applicable", "undecided"}
    verdict = found["constant"]
    assert verdict.n == 32
    assert verdict.interval.value == 1
    assert verdict.sentence.startswith(
        "balance of the attribution between features, each of which suffices for the output "
        "(gate ≥ 0.25); uninformative, since null_feature, which it presumes, fails: 0.500 ["
    )


def test_a_method_that_sees_one_feature_fails_saturation(samples: dict[str, Subject], judge: Judge) -> None:
    truth = samples["saturation"].truth
    one = truth["mask_a"].float() + 0.2 * truth["mask_b"].float()
    verdict = judge(fixed(samples["saturation"], one[:, None].expand(-1, 5, -1, -1, -1)), "saturation")
    assert verdict.status == "fail"
    assert verdict.interval is not None
    assert verdict.interval.value == pytest.approx(0.2)
