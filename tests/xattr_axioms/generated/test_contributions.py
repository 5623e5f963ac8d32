"""Checks of how much features do, and where: synergy, suppression, graded contribution, exchanged features.

On samples made by hand.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from judging import item_of
from subjects import images
from torch import Tensor, nn

import xattr_check
from xattr_check import Measurement, Method, Subject, Verdict, load_method
from xattr_check.core.checks import Axiom
from xattr_check.core.explainer import Explainer
from xattr_check.core.run import Run
from xattr_check.errors import Undefined

SIDE, PATCH = 16, 4
WORTH = {"synergy": (1.0, 1.0), "suppression": (1.0, -0.5), "graded": (1.0, 0.4), "exchange": (1.0, 0.0)}
CHECKS = {name: xattr_check.checks()[name] for name in WORTH}
NEGATIVE = ("random", "edges", "input_magnitude", "center", "constant")
SHOWN = ("only_a", "only_b", "exchanged")


def derived(check: str, count: int = 16) -> Subject:
    """What `on` of a check would make, with noise for features: two squares, apart from each other."""
    generator = torch.Generator().manual_seed(0)
    empty = 0.1 * torch.randn(count, 3, SIDE, SIDE, generator=generator)
    masks = torch.zeros(count, 2, 1, SIDE, SIDE, dtype=torch.bool)
    for row in range(count):
        cells = torch.randperm(SIDE * SIDE // PATCH**2, generator=generator)[:2].tolist()
        for feature, cell in enumerate(cells):
            top, left = (PATCH * number for number in divmod(cell, SIDE // PATCH))
            masks[row, feature, :, top : top + PATCH, left : left + PATCH] = True
    patches = torch.randn(count, 3, SIDE, SIDE, generator=generator)
    shown = [torch.where(masks[:, feature], patches, empty) for feature in range(2)]
    both = torch.where(masks.any(1), patches, empty)
    targets = torch.randint(5, (count,), generator=generator)
    truth = {"mask_a": masks[:, 0], "mask_b": masks[:, 1]}
    truth["mask"] = masks[:, 0] if WORTH[check][1] <= 0 else masks.any(1)
    if check == "synergy":
        truth |= {"only_a": shown[0], "only_b": shown[1]}
    elif check == "exchange":
        truth["exchanged"] = torch.where(masks.any(1), patches.flip(0), empty)
    else:
        truth["worth"] = sum(w * masks[:, feature] for feature, w in enumerate(WORTH[check]))
    return Subject("noise", images().model, both, targets, truth=truth, causal=True)


def showing(subject: Subject, maps: Callable[[str, Tensor], Tensor], **options: Any) -> Method:
    """The method whose maps follow from what is shown, `both`, `only_a`, …, and of which sample."""
    known = {name: subject.truth[name] for name in SHOWN if name in subject.truth}
    where = {
        image.numpy().tobytes(): (name, row)
        for name, images in {"both": subject.inputs, **known}.items()
        for row, image in enumerate(images)
    }

    def look_up(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        found = [where[image.numpy().tobytes()] for image in inputs]
        return torch.stack([maps(name, torch.tensor(row)) for name, row in found])

    return replace(load_method(look_up), **options)


def on_features(subject: Subject, a: float, b: float, **options: Any) -> Method:
    """The method that has so much on either feature, whatever is shown."""
    masks = subject.truth["mask_a"], subject.truth["mask_b"]
    return showing(subject, lambda _, row: a * masks[0][row] + b * masks[1][row], **options)


def measure(check: str, subject: Subject, method: Method, run: Run) -> tuple[Measurement, Tensor]:
    """A measurement of one draw, and which of the subject's inputs were drawn."""
    draw = next(run.draws(check, subject, CHECKS[check].inputs))
    return CHECKS[check].measure(Explainer.of(method, subject, run), subject, draw), draw.indices


def total(scores: Tensor, mask: Tensor) -> float:
    """Σ S over a feature, by a loop."""
    pairs = zip(scores.flatten().tolist(), mask.flatten().tolist(), strict=True)
    return sum(score for score, inside in pairs if inside)


def noise(subject: Subject, seed: int = 1) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    shape = (len(subject.inputs), 1, SIDE, SIDE)
    return {name: torch.randn(shape, generator=generator) for name in ("both", *SHOWN)}


@pytest.mark.parametrize("check", WORTH)
def test_each_agrees_with_the_textbook(check: str, run: Run) -> None:
    subject = derived(check)
    maps = noise(subject)
    found, rows = measure(check, subject, showing(subject, lambda name, row: maps[name][row]), run)
    expected = []
    for row in rows.tolist():
        masks = [subject.truth[name][row] for name in ("mask_a", "mask_b")]
        a, b = (total(maps["both"][row], mask) for mask in masks)
        if check == "synergy":
            rest = sum(abs(total(maps[f"only_{letter}"][row], masks[n])) for n, letter in enumerate("ab"))
            expected.append(max(0.0, 1 - rest / (a + b)) if a + b > 0 else 0.0)
        elif check == "suppression":
            expected.append(min(a, -b) / max(abs(a), abs(b)))
        elif check == "exchange":
            p = [abs(one) / (abs(a) + abs(b)) for one in (a, b)]
            q = [abs(total(maps["exchanged"][row], mask)) for mask in masks]
            q = [one / sum(q) for one in q]
            expected.append(sum(map(min, p, q)) / (p[0] + q[1]))
        else:
            off = abs(b / (abs(a) + abs(b)) - 0.4 / 1.4)
            expected.append(max(0.0, 1 - off / (0.5 - 0.4 / 1.4)))
    assert found.samples.tolist() == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("check", "a", "b", "value"),
    [
        ("suppression", 1.0, -0.5, 0.5),
        ("suppression", -1.0, 0.5, -1.0),
        ("suppression", 1.0, 0.5, -0.5),
        ("suppression", -1.0, -1.0, -1.0),
        ("suppression", 0.0, 0.0, 0.0),
        ("graded", 1.0, 0.4, 1.0),
        ("graded", 1.0, 1.0, 0.0),
        ("graded", 1.0, 0.0, 0.0),
        ("graded", 0.4, 1.0, 0.0),
        ("graded", -1.0, -0.4, 0.0),
        ("graded", 0.0, 0.0, 0.0),
    ],
)
def test_amounts(check: str, a: float, b: float, value: float, run: Run) -> None:
    subject = derived(check)
    # Outside of the features, so that no map is nowhere negative.
    rest = -0.01 * (~(subject.truth["mask_a"] | subject.truth["mask_b"])).float()
    masks = subject.truth["mask_a"], subject.truth["mask_b"]
    method = showing(subject, lambda _, row: a * masks[0][row] + b * masks[1][row] + rest[row])
    for scale in (1.0, 1e-15, 1e15):
        scaled = replace(method, function=lambda *asked, by=scale: by * method.function(*asked))
        found, _ = measure(check, subject, scaled, run)
        assert found.samples.tolist() == pytest.approx([value] * 16, abs=1e-6)
    if a == b == 0:
        assert found.finding == "zero on the features of 16 of 16 samples, counted as 0"


@pytest.mark.parametrize(
    ("alone", "value"), [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0), (2.0, 0.0), (-0.5, 0.5), (-3.0, 0.0)]
)
def test_what_is_lost_alone(alone: float, value: float, run: Run) -> None:
    """Whatever a feature has that is not shown."""
    subject = derived("synergy")
    masks = {letter: subject.truth[f"mask_{letter}"].float() for letter in "ab"}

    def maps(name: str, row: Tensor) -> Tensor:
        if name == "both":
            return 0.3 * masks["a"][row] + 0.7 * masks["b"][row]
        return sum((alone * 0.5 if name == f"only_{one}" else 9.0) * masks[one][row] for one in "ab")

    found, _ = measure("synergy", subject, showing(subject, maps), run)
    assert found.samples.tolist() == pytest.approx([value] * 16, abs=1e-6)
    for factor in (0, -1):
        found, _ = measure(
            "synergy", subject, showing(subject, lambda name, row, by=factor: by * maps(name, row)), run
        )
        assert found.samples.tolist() == [0.0] * 16


def test_what_is_against_and_for_does_not_cancel(run: Run) -> None:
    """Alone, as much for the target on the one as against it on the other is not nothing."""
    subject = derived("synergy")
    masks = {letter: subject.truth[f"mask_{letter}"].float() for letter in "ab"}
    amounts = {"both": (0.5, 0.5), "only_a": (0.3, 0.0), "only_b": (0.0, -0.3)}

    def maps(name: str, row: Tensor) -> Tensor:
        return sum(amount * masks[one][row] for one, amount in zip("ab", amounts[name], strict=True))

    found, _ = measure("synergy", subject, showing(subject, maps), run)
    assert found.samples.tolist() == pytest.approx([0.4] * 16, abs=1e-6)


def test_maps_that_are_the_same_for_a_multiple_do_not_tell_how_much(run: Run) -> None:
    """As where each is over its maximum, or shares of a variance."""
    subject = derived("synergy")
    alone = load_method("xattr:gradient")

    def largest_is_one(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        maps = alone(model, inputs, targets).abs().sum(1, keepdim=True)
        return maps / maps.amax((1, 2, 3), keepdim=True)

    with pytest.raises(Undefined, match="are the same for outputs 4 times as large: they tell where"):
        measure("synergy", subject, load_method(largest_is_one), run)
    for told in ("edges", "constant", "gradient"):  # of no target, or of how much
        found, _ = measure("synergy", subject, load_method(f"xattr:{told}"), run)
        assert float(found.samples.mean()) < 0.5


def test_maps_of_one_total_do_not_tell_how_much(run: Run) -> None:
    """Unless they are one map, which does not look at the input."""
    subject = derived("synergy")
    masks = {letter: subject.truth[f"mask_{letter}"].float() for letter in "ab"}

    def rescaled(name: str, row: Tensor) -> Tensor:
        shown = [one for one in "ab" if name in ("both", f"only_{one}")]
        return 1e-9 * sum(masks[one][row] for one in shown) / len(shown)

    with pytest.raises(Undefined) as raised:
        measure("synergy", subject, showing(subject, rescaled), run)
    assert str(raised.value) == (
        "maps of the method have the same total for every input: they tell where the attribution is, and not "
        "how much of it there is"
    )
    found, _ = measure("synergy", subject, on_features(subject, 1.0, 1.0), run)
    assert found.samples.tolist() == [0.0] * 16


@pytest.mark.parametrize(
    ("before", "after", "value"),
    [
        ((1.0, 0.0), (0.0, 1.0), 0.0), ((1.0, 0.0), (1.0, 0.0), 1.0), ((0.6, 0.4), (0.4, 0.6), 2 / 3),
        ((3.0, 1.0), (2.0, 6.0), 1 / 3), ((0.0, 1.0), (1.0, 0.0), 1.0), ((-1.0, 0.0), (0.0, 1.0), 0.0),
        ((0.0, 0.0), (0.0, 1.0), 1.0), ((1.0, 0.0), (0.0, 0.0), 1.0),
    ],
)  # fmt: skip
def test_what_stays_at_a_place(
    before: tuple[float, float], after: tuple[float, float], value: float, run: Run
) -> None:
    """Amounts at the place of the feature that makes the target and at the other, and after the exchange."""
    subject = derived("exchange")
    masks = subject.truth["mask_a"].float(), subject.truth["mask_b"].float()

    def maps(name: str, row: Tensor) -> Tensor:
        first, second = before if name == "both" else after
        return first * masks[0][row] + second * masks[1][row]

    found, _ = measure("exchange", subject, showing(subject, maps), run)
    assert found.samples.tolist() == pytest.approx([value] * 16, abs=1e-6)
    zero = {before, after} & {(0.0, 0.0)}
    assert found.finding == ("zero on the features of 16 of 16 samples, counted as 1" if zero else "")


def test_maps_without_signs_tell_no_evidence_against(run: Run) -> None:
    """With little on what lowers the output they are not asked; with much they have it for evidence."""
    subject = derived("suppression")
    with pytest.raises(Undefined) as raised:
        measure("suppression", subject, on_features(subject, 1.0, 0.1), run)
    assert str(raised.value) == (
        "maps of the method are nowhere negative, so that they tell no evidence against the target; "
        "on what is such they have 0.09 of what is on the features"
    )
    with pytest.raises(Undefined, match="the sign of the method is a direction"):
        measure("suppression", subject, on_features(subject, 1.0, -0.5, sensitivity=True), run)
    found, _ = measure("suppression", subject, on_features(subject, 1.0, 0.5), run)
    assert found.samples.tolist() == pytest.approx([-0.5] * 16)
    found, _ = measure("suppression", subject, on_features(subject, 0.0, 0.0), run)
    assert found.samples.tolist() == [0.0] * 16


def test_rounding_is_no_evidence_against(run: Run) -> None:
    """Nor what enlarging a map that is nowhere negative leaves below zero; more is."""
    subject = derived("suppression")
    masks = subject.truth["mask_a"].float(), subject.truth["mask_b"].float()

    def with_negative(below: float) -> Method:
        return showing(subject, lambda _, row: masks[0][row] - below * masks[1][row])

    with pytest.raises(Undefined, match=r"nowhere negative.*they have 0\.01 of what is on the features"):
        measure("suppression", subject, with_negative(0.01), run)
    found, _ = measure("suppression", subject, with_negative(0.05), run)
    assert found.samples.tolist() == pytest.approx([0.05] * 16)


Judge = Callable[[Any, str], Verdict]


@pytest.fixture
def samples() -> dict[str, Subject]:
    """Samples made by hand for each check."""
    return {name: derived(name, count=64) for name in WORTH}


@pytest.fixture
def judge(samples: dict[str, Subject], run: Run) -> Judge:
    """The verdict on a method by a check on those samples."""

    def on(name: str) -> Axiom:
        # By itself: what it presumes is measured on other samples.
        return replace(CHECKS[name], on=lambda subject, run: samples[name], presumes=())

    checks = {name: on(name) for name in WORTH}
    subject = images()
    return lambda method, check: item_of(method, check, subject, known=checks).judge(run)


def test_the_oracle_passes(judge: Judge) -> None:
    """But not where other inputs are shown than those of the subject, of which it does not know."""
    found = {name: judge("xattr:oracle", name) for name in WORTH}
    assert {name: one.status for name, one in found.items()} == {
        "synergy": "not_applicable",
        "suppression": "pass",
        "graded": "pass",
        "exchange": "not_applicable",
    }
    values = {name: one.interval.value for name, one in found.items() if one.interval}
    assert values == pytest.approx({"suppression": 0.5, "graded": 1.0})


@pytest.mark.parametrize("check", WORTH)
def test_controls_fail(check: str, judge: Judge) -> None:
    found = {name: judge(f"xattr:{name}", check).status for name in NEGATIVE}
    assert set(found.values()) == {"fail"}


def test_right_and_wrong_amounts(samples: dict[str, Subject], judge: Judge) -> None:
    def amounts(check: str, a: float, b: float, alone: float = 0.0) -> str:
        masks = [samples[check].truth[name] for name in ("mask_a", "mask_b")]

        def maps(name: str, row: Tensor) -> Tensor:
            scale = 1.0 if name == "both" else alone
            return scale * (a * masks[0][row] + b * masks[1][row]) - 1e-3

        return judge(showing(samples[check], maps), check).status

    assert amounts("suppression", 1.0, -0.4) == "pass"
    assert amounts("suppression", 1.0, 0.4) == "fail"
    assert amounts("synergy", 1.0, 0.5, alone=0.1) == "pass"
    assert amounts("synergy", 1.0, 0.5, alone=1.0) == "fail"
    assert amounts("graded", 1.0, 0.45) == "pass"
    assert amounts("graded", 1.0, 0.9) == "fail"
