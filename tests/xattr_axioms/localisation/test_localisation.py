"""Where maps fall, against loops over single pixels, and where that says nothing."""

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from broken_methods import broken
from hypothesis import given, settings
from hypothesis import strategies as st
from judging import judge, measured, seeds
from subjects import columns, images
from torch import Tensor, nn

import xattr_check
from xattr_axioms.localisation._masks import beside_mask
from xattr_axioms.localisation.effective_heat_ratio import STEPS, heat_ratios
from xattr_axioms.localisation.iou import overlaps, shares_of_hits
from xattr_check import Store, Subject, SubjectError, load_method
from xattr_check.core.explainer import Explainer
from xattr_check.core.run import Run
from xattr_methods import gradient

CHECKS = xattr_check.checks()
LOCALISATION = [name for name, check in CHECKS.items() if check.family == "localisation"]
SIDE = 16


def corners() -> Tensor:
    """(4, SIDE, SIDE) bool: six by six pixels in each corner of the image."""
    near = torch.arange(SIDE) < 6
    sides = torch.stack([near, near.flip(0)])
    return (sides[:, None, :, None] & sides[None, :, None, :]).reshape(4, SIDE, SIDE)


class Corners(nn.Module):
    """Sums the product of the channels over each corner of the image: nothing else matters to a logit."""

    def forward(self, inputs: Tensor) -> Tensor:
        return torch.einsum("nhw,chw->nc", inputs.prod(1), corners().to(inputs))


def cornered(count: int = 64, causal: bool = True, mask: Callable[[Tensor], Tensor] | None = None) -> Subject:
    """Noise whose product is positive in one corner, which is the mask, causal, and not to be seen."""
    inputs = torch.randn(count, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(count) % 4
    masks = corners()[targets][:, None]
    inputs[:, :1] *= torch.where(masks, inputs.prod(1, keepdim=True).sign(), 1.0)
    truth = {"mask": masks if mask is None else mask(masks)}
    return Subject("cornered", Corners(), inputs, targets, truth=truth, causal=causal)


def rows(count: int, features: int, levels: int) -> st.SearchStrategy[list[list[int]]]:
    return st.lists(
        st.lists(st.integers(0, levels), min_size=features, max_size=features),
        min_size=count,
        max_size=count,
    )


@settings(max_examples=50, deadline=None)
@given(rows(2, 30, 6), st.lists(st.booleans(), min_size=30, max_size=30).filter(any))
def test_heat_ratios_by_a_loop(values: list[list[int]], inside: list[bool]) -> None:
    heat = torch.tensor(values).double()
    heat[:, 0] += 1
    mask = torch.tensor(inside).expand_as(heat)
    found, published = heat_ratios(heat, mask)
    for row, map_ in enumerate(heat.tolist()):
        for step in range(STEPS + 1):
            kept = round(30 + (1 - 30) * step / STEPS)
            threshold = sorted(map_, reverse=True)[kept - 1]
            above = [(h, m) for h, m in zip(map_, inside, strict=True) if h >= threshold and h > 0]
            on = sum(h for h, m in above if m)
            if abs(30 + (1 - 30) * step / STEPS - kept) != 0.5:  # halves are rounded either way
                assert float(found[row, step]) == pytest.approx(on / sum(h for h, _ in above))
                assert float(published[row, step]) == pytest.approx(on / len(above))


def test_heat_ratios_of_the_published_examples() -> None:
    """Figure 11 of [zhang2021]: heat in the box; a quarter of it elsewhere too; a quarter in the box."""
    mask = torch.arange(100).expand(1, -1) < 25
    one, other = (torch.where(mask, 1.0, level).double() for level in (0.0, 0.25))
    alone, spread, low = (heat_ratios(heat, mask) for heat in (one, other, 0.25 * one))
    areas = [float(torch.trapezoid(published, dx=1 / STEPS)) for _, published in (alone, spread, low)]
    assert areas == pytest.approx([1, 0.42, 0.25], abs=0.01)
    assert (
        float(alone[0].mean()) == float(low[0].mean()) == 1
    )  # without a unit, little heat is as good as much
    assert float(spread[0][0, 0]) == pytest.approx(25 / (25 + 75 / 4))
    hits = [shares_of_hits(overlaps(heat, mask)[0]) for heat in (one, other, 0.25 * one)]
    assert torch.cat(hits).tolist() == [1, 1, 1]  # the bounding-box metric tells none of them apart


def test_the_published_heat_ratio_is_of_the_maps_own_scale(run: Run) -> None:
    subject = cornered(count=24)

    def halved(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return gradient(model, inputs, targets) / 2

    one, other = (
        measured("effective_heat_ratio", name, subject, run)[0] for name in (gradient.function, halved)
    )
    assert torch.equal(one.samples, other.samples)
    torch.testing.assert_close(
        one.evidence["published_heat_ratio"], 2 * other.evidence["published_heat_ratio"]
    )


@settings(max_examples=50, deadline=None)
@given(rows(2, 12, 4), st.lists(st.booleans(), min_size=12, max_size=12).filter(any))
def test_overlaps_by_a_loop(values: list[list[int]], inside: list[bool]) -> None:
    heat = torch.tensor(values).double()
    mask = torch.tensor(inside).expand_as(heat)
    fixed, best = overlaps(heat, mask)
    size = sum(inside)
    for row, map_ in enumerate(values):
        by_threshold = []
        for threshold in set(map_):
            above = [m for h, m in zip(map_, inside, strict=True) if h >= threshold]
            by_threshold.append(sum(above) / (len(above) + size - sum(above)))
        assert float(best[row]) == pytest.approx(max(by_threshold))
        last = sorted(map_, reverse=True)[size - 1]
        sure = [m for h, m in zip(map_, inside, strict=True) if h > last]
        tied = [m for h, m in zip(map_, inside, strict=True) if h == last]
        hits = sum(sure) + (size - len(sure)) * sum(tied) / len(tied)
        assert float(fixed[row]) == pytest.approx(hits / (2 * size - hits))
        assert float(shares_of_hits(fixed)[row]) == pytest.approx(hits / size)


def test_shares_and_maxima_by_a_loop(run: Run) -> None:
    subject = cornered(count=24)
    for name in ("foreground_share", "pointing_game"):
        draw = next(run.draws(name, subject, 32))
        for method in ("xattr:input_x_gradient", "xattr:edges", "xattr:constant"):
            found = (
                CHECKS[name].measure(Explainer.of(load_method(method), subject, run), subject, draw).samples
            )
            maps = load_method(method)(subject.model, draw.inputs, draw.targets).sum(1).clamp_min(0)
            for value, map_, mask in zip(found, maps, draw.truth("mask")[:, 0], strict=True):
                if name == "foreground_share":
                    expected = float(map_[mask].sum() / map_.sum())
                else:  # one pixel around the mask counts, a sixteenth of the side
                    hits = [
                        bool(mask[max(0, y - 1) : y + 2, max(0, x - 1) : x + 2].any())
                        for y, x in (map_ == map_.max()).nonzero().tolist()
                    ]
                    expected = sum(hits) / len(hits)
                assert float(value) == pytest.approx(expected, abs=1e-6)


def two_corners() -> Subject:
    """Each input has another corner as well, in which the product is positive."""
    plain = cornered()
    others = (plain.targets + 1) % 4
    masks = corners()[others][:, None]
    inputs = plain.inputs.clone()
    inputs[:, :1] *= torch.where(masks, inputs.prod(1, keepdim=True).sign(), 1.0)
    truth = {**plain.truth, "other_mask": masks, "other_target": others}
    return replace(plain, inputs=inputs, truth=truth)


def test_the_pointing_game_over_both_targets(run: Run) -> None:
    """What points at the target whatever it is asked for hits half of the time."""

    def one_alone(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        own = subject.targets[subject.locate(inputs)]
        found: Tensor = load_method("xattr:input_x_gradient")(model, inputs, own)
        return found

    subject, both = two_corners(), "pointing_game?over=both"
    found, _ = measured(both, "xattr:input_x_gradient", subject, run)
    assert found.samples.tolist() == [1] * 32
    found, _ = measured(both, one_alone, subject, run)
    alone, _ = measured("pointing_game", one_alone, subject, run)
    swapped = replace(
        subject,
        targets=subject.truth["other_target"],
        truth={"mask": subject.truth["other_mask"]},
        causal=False,
    )
    other, _ = measured("pointing_game", one_alone, swapped, run)
    torch.testing.assert_close(found.samples, (alone.samples + other.samples) / 2)
    assert torch.equal(found.evidence["target"], alone.samples)
    assert torch.equal(found.evidence["other_target"], other.samples)
    assert 0.45 < float(found.samples.mean()) < 0.75
    verdict = judge(both, "xattr:gradient", cornered(), run)
    assert str(verdict).endswith(
        "over=both needs other_target and other_mask, which 'cornered' does not offer"
    )


@pytest.mark.parametrize("check", LOCALISATION)
def test_what_is_right_passes_and_what_is_wrong_fails(check: str, run: Run) -> None:
    subject = cornered()
    found = {
        name: judge(check, method, subject, run)
        for name, method in {
            "right": "xattr:input_x_gradient",
            "oracle": "xattr:oracle",
            "wrong": lambda model, inputs, targets: -gradient(model, inputs, targets).abs(),
            "edges": "xattr:edges",
        }.items()
    }
    statuses = {name: verdict.status for name, verdict in found.items()}
    assert statuses == {"right": "pass", "oracle": "pass", "wrong": "fail", "edges": "fail"}
    assert str(found["wrong"]).endswith(
        "; no evidence for the target in 32 of 32 maps, counted as the same everywhere"
    )


@pytest.mark.parametrize("check", ["effective_heat_ratio", "foreground_share", "pointing_game"])
def test_what_little_speaks_for_the_target_is_no_share_of_a_map_against_it(check: str, run: Run) -> None:
    """Both are at the same place in the negative of a map, whose other pixels say nothing."""

    def two_signs(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        mask = subject.truth["mask"][subject.locate(inputs)].to(inputs)
        columns = torch.arange(SIDE) % 3
        return mask * torch.where(columns == 0, -1.0, 1.0)

    def negated(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return -two_signs(model, inputs, targets)

    subject = cornered()
    verdicts = [judge(check, method, subject, run) for method in (two_signs, negated)]
    assert [one.status for one in verdicts] == ["pass", "fail"]
    told = "evidence against it on 32 of 32 masks, counted as the same everywhere"
    assert str(verdicts[1]).endswith(told)
    assert verdicts[1].interval.value == pytest.approx(verdicts[1].controls["constant"])


def test_a_map_without_evidence_is_a_constant_one(run: Run) -> None:
    def nothing(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return torch.zeros_like(inputs)

    for check in LOCALISATION:
        verdict = judge(check, nothing, cornered(), run)
        assert verdict.interval is not None
        assert verdict.interval.value == pytest.approx(verdict.controls["constant"])


@pytest.mark.parametrize("check", LOCALISATION)
def test_without_causal_truth_a_failure_is_advice(check: str, run: Run) -> None:
    def elsewhere(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return subject.truth["mask"][subject.locate(inputs)].roll(SIDE // 2, -1).to(inputs)

    subject = cornered(causal=False)
    advice = judge(check, elsewhere, subject, run)
    assert (advice.status, advice.required, advice.failed) == ("fail", False, False)
    assert str(advice).endswith(
        "; this is advice, since a map may be right about a model that looks elsewhere than at the mask"
    )
    claimed = judge(check, elsewhere, subject, run, claims=frozenset({check}))
    assert (claimed.required, claimed.failed, claimed.advisory) == (True, True, "")
    required = judge(check, elsewhere, replace(subject, causal=True), run)
    assert (required.status, required.required, required.failed) == ("fail", True, True)
    assert "advice" not in str(required)


@pytest.mark.parametrize("check", LOCALISATION)
def test_masks_that_tell_nothing_make_the_check_invalid(check: str, run: Run) -> None:
    """All of the image: whatever a map shows lies on it."""
    subject = cornered(mask=torch.ones_like)
    verdict = judge(check, "xattr:input_x_gradient", subject, run)
    assert verdict.status == "invalid"
    assert "the control 'oracle', which knows the truth, does not beat" in str(verdict)


def test_masks_in_the_centre_make_the_check_invalid(run: Run) -> None:
    """The hottest quarter of the centre blob."""
    control = load_method("xattr:center")
    blob = control(nn.Identity(), torch.zeros(1, 3, SIDE, SIDE), torch.zeros(1))[0] > 0.4
    subject = cornered(mask=lambda masks: blob.expand_as(masks), causal=False)
    verdict = judge("iou", "xattr:input_x_gradient", subject, run)
    assert verdict.status == "invalid"
    assert "no method that asks the model beats the control 'constant'" in str(verdict)


@pytest.mark.parametrize("check", LOCALISATION)
def test_where_there_is_no_mask_or_nothing_on_it(check: str, run: Run) -> None:
    assert str(judge(check, "xattr:gradient", images(), run)) == (
        f"{check}: needs mask, which subject 'images' does not offer"
    )
    verdict = judge(check, "xattr:gradient", cornered(mask=torch.zeros_like), run)
    assert verdict.status == "not_applicable"
    assert str(verdict).endswith(" of 'cornered' is empty")


def test_columns_have_masks_too(run: Run) -> None:
    subject = columns(count=64)
    with torch.no_grad():
        subject.model.weight[:, 3:] = 0
    targets = subject.model(subject.inputs).argmax(1)
    mask = (torch.arange(6) < 3).expand(64, -1)
    known = Subject("known", subject.model, subject.inputs, targets, truth={"mask": mask}, causal=True)
    for check in LOCALISATION:
        verdict = judge(check, "xattr:gradient", known, run)
        # What a column has to do with the class finds nine maxima in ten by itself.
        found = ("pass", "undecided") if check == "pointing_game" else ("pass",)
        assert verdict.status in found, str(verdict)


@pytest.mark.parametrize("check", LOCALISATION)
def test_a_mask_that_is_causal_only_in_name_makes_the_check_invalid(check: str, run: Run) -> None:
    """That of a corner beside it: whoever points there would pass, and the truth would fail."""
    subject = cornered(mask=lambda masks: masks.flip(-1))
    for points in ("xattr:oracle", "xattr:input_x_gradient"):
        verdict = judge(check, points, subject, run)
        assert verdict.status == "invalid"
        assert "causal=True says that without the mask the target is gone, and the target's" in str(verdict)
        assert "; leave causal out, or give the mask of what it looks at" in str(verdict)
        advice = judge(check, points, replace(subject, causal=False), run)
        assert (advice.required, "causal=True" in str(advice)) == (False, False)


def test_causal_truth_is_a_mask() -> None:
    with pytest.raises(SubjectError) as raised:
        replace(images(), causal=True)
    assert str(raised.value) == "subject 'images': expected truth 'mask' where causal=True, came none"


GOOD = ("gradient", "gradcam", "guided_backprop", "lrp", "deeplift")
SHORT = ("iou", "effective_heat_ratio", "foreground_share")


@pytest.mark.parametrize("seed", seeds())
def test_good_methods_find_the_digit(seed: int, digits: Subject, store: Store) -> None:
    run = Run(store=store, seed=seed)
    for check in SHORT:
        for name in (*GOOD, "oracle"):
            verdict = judge(check, f"xattr:{name}", digits, run)
            assert (verdict.status, verdict.required) == ("pass", True), str(verdict)


@pytest.mark.parametrize("seed", seeds())
def test_maps_that_are_moved_do_not(seed: int, digits: Subject, store: Store) -> None:
    run = Run(store=store, seed=seed)
    for check in (*SHORT, "pointing_game"):
        for name in ("sign_flipped", "transposed", "shifted", "flipped", "wrapped_around"):
            assert judge(check, broken(name), digits, run).status == "fail", (check, name)
        for name in ("random", "edges", "input_magnitude", "center", "constant"):
            assert judge(check, f"xattr:{name}", digits, run).status == "fail", (check, name)


@pytest.mark.parametrize("seed", seeds())
def test_good_methods_point_at_the_digit(seed: int, digits: Subject, store: Store) -> None:
    run = Run(store=store, seed=seed, budget="standard")
    for name in (*GOOD, "oracle") if seed else ("gradcam", "oracle"):
        assert judge("pointing_game", f"xattr:{name}", digits, run).status == "pass", name


def test_how_coarse_a_map_is_beside_its_mask() -> None:
    mask = torch.zeros(2, 64, dtype=torch.bool)
    mask[:, :12] = True
    cells = torch.arange(1.0, 17).repeat_interleave(4).expand(2, -1)  # 16 levels of 4 features each
    coarse = "the maps have one level for 4 features, and the masks are of 12"
    assert beside_mask("", cells, mask) == coarse
    assert beside_mask("nothing", cells, mask) == f"nothing; {coarse}"
    assert beside_mask("", cells, mask.logical_not()) == ""  # 13 cells
    assert beside_mask("", torch.rand(2, 64), mask) == ""
    few = torch.zeros(2, 64)
    few[:, :3] = torch.tensor([1.0, 2, 3])  # fine, though most of it is zero
    assert beside_mask("", few, mask) == ""
    assert beside_mask("nothing", torch.ones(2, 64), mask) == "nothing"


def test_a_failure_of_a_coarse_map_says_so(run: Run) -> None:
    def coarse(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        maps = nn.functional.avg_pool2d(gradient(model, inputs, targets).sum(1, keepdim=True), SIDE // 2)
        return nn.functional.interpolate(maps.flip(-1), size=SIDE)

    verdict = judge("iou", coarse, cornered(), run)
    assert verdict.status == "fail"
    assert "the maps have one level for" in verdict.sentence
