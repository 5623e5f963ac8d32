"""The pieces of the re-created procedure that could be wrong without anyone noticing."""

import math
import random
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from xattr_check import Subject, UsageError

CLASSES = (1, 2)


@pytest.fixture
def subject() -> Subject:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = nn.Sequential(
            nn.Conv2d(3, 4, 5, 2), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(784, 5)
        )

    def reference(count: int, generator: torch.Generator) -> Tensor:
        return 0.1 * torch.randn(count, 3, 32, 32, generator=generator)

    return Subject("small", model, torch.zeros(1, 3, 32, 32), torch.tensor([0]), reference)


def run(script: ModuleType, subject: Subject, scenario: str, **settings: object) -> tuple:
    settings = {"iterations": 3, **settings}
    return script.released(subject, scenario, 12, 0, low=-torch.ones(3), high=torch.ones(3), **settings)


def test_focal_weight(script: ModuleType) -> None:
    assert script.focal_weight(0.5) == pytest.approx(0.5**0.8 * math.log(2))
    assert script.focal_weight(1.0) == 0
    weights = [script.focal_weight(key) for key in (0.05, 0.3, 0.6, 0.95)]
    assert weights == sorted(weights, reverse=True)


def test_keys(script: ModuleType) -> None:
    change = script.relative_change(torch.tensor(-3.0), torch.tensor(2.0))
    assert change == pytest.approx(math.tanh(5 / 2))
    assert change == script.relative_change(torch.tensor(2.0), torch.tensor(-3.0))
    keys = script.Keys(script.SCENARIOS["null"][1])
    keys.update(1.0, [0.0, 0.7])
    keys.update(1.0, [0.0, 0.7])
    assert keys.softmax == pytest.approx(1 - 0.5 * 0.9**2)
    assert keys.changes == pytest.approx([0.5 * 0.9**2, 0.7 - 0.2 * 0.9**2])


@pytest.mark.parametrize("scenario", ["null", "double", "single", "saturation"])
@pytest.mark.parametrize("warm_up", [True, False])
def test_gradients_reach_only_the_patch_being_added(
    script: ModuleType, subject: Subject, scenario: str, warm_up: bool
) -> None:
    aims = script.SCENARIOS[scenario]
    for aim in aims:
        patches = [torch.rand(1, 3, 12, 12).requires_grad_() for _ in aims]
        corners = script.place(len(aims), 12, 32, random.Random(0))
        logits = {
            coalition: subject.model(script.composite(torch.zeros(1, 3, 32, 32), patches, corners, coalition))
            for coalition in script.coalitions_of(aims)
        }
        keys = None if warm_up else script.Keys(aim)
        script.loss_of(aim, logits, CLASSES, keys).backward()
        for index, patch in enumerate(patches):
            reached = patch.grad is not None and bool(patch.grad.any())
            assert reached == (index == aim.patch)


def test_losses_by_hand(script: ModuleType) -> None:
    held, null = script.SCENARIOS["null"]
    logits = {
        (): torch.tensor([[0.0, 1.0, 0.0]]),
        (0,): torch.tensor([[0.0, 9.0, 0.0]]),
        (1,): torch.tensor([[0.0, 3.0, 7.0]]),
        (0, 1): torch.tensor([[0.0, 4.0, 7.0]]),
    }
    weight = 0.5**0.8 * math.log(2)
    assert float(script.loss_of(null, logits, CLASSES, None)) == pytest.approx(-5 * 7)
    loss = script.loss_of(null, logits, CLASSES, script.Keys(null))
    assert float(loss) == pytest.approx(-10 * weight * 7 + 5 * weight * (5**2 + 2**2))
    softmax = math.exp(9) / (math.exp(9) + 2)
    assert float(script.loss_of(held, logits, CLASSES, None)) == pytest.approx(
        5 * (softmax - 0.95) ** 2, rel=1e-4
    )
    found, changes = script.measure(null, logits, CLASSES)
    assert found == pytest.approx(math.exp(7) / (math.exp(7) + math.exp(3) + 1))
    assert changes == pytest.approx([math.tanh(5 / 4), math.tanh(2 / 1)])


def test_patches_never_overlap_and_go_everywhere(script: ModuleType) -> None:
    draws, covered = random.Random(0), torch.zeros(2, 32, 32)
    for _ in range(2000):
        both = torch.zeros(32, 32)
        for patch, (row, column) in enumerate(script.place(2, 14, 32, draws)):
            both[row : row + 14, column : column + 14] += 1
            covered[patch, row : row + 14, column : column + 14] = 1
        assert both.sum() == 2 * 14 * 14
        assert both.max() == 1
    assert covered.all()


def test_the_prior_is_the_released_one_at_its_size(script: ModuleType) -> None:
    parameters, products = script.cost_of_prior(86)
    assert parameters / 1e6 == pytest.approx(2.9, abs=0.05)
    assert products / 1e9 == pytest.approx(4.1, abs=0.05)


@pytest.mark.parametrize("side", [8, 12, 13, 14])
def test_the_prior_makes_the_patch(script: ModuleType, side: int) -> None:
    patch = script.PatchPrior(side, 1)()
    assert patch.shape == (1, 1, side, side)
    assert patch.min() > 0
    assert patch.max() < 1


@pytest.mark.parametrize("frozen", [True, False])
def test_the_model_is_left_as_it_was(script: ModuleType, subject: Subject, frozen: bool) -> None:
    weight = next(subject.model.parameters())
    weight.requires_grad_(False)
    before = {name: value.clone() for name, value in subject.model.state_dict().items()}
    state = torch.get_rng_state()
    run(script, subject, "double", frozen=frozen)
    assert all(torch.equal(value, before[name]) for name, value in subject.model.state_dict().items())
    assert all(parameter.grad is None for parameter in subject.model.parameters())
    assert [parameter.requires_grad for parameter in subject.model.parameters()] == [False] + 5 * [True]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("scenario", ["null", "double", "single", "saturation"])
def test_leaving_out_the_waste_changes_nothing(
    script: ModuleType, subject: Subject, scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both phases of the optimisation.
    monkeypatch.setattr(script, "WARM_UP", 1)
    monkeypatch.setattr(script, "SATURATION_WARM_UP", 1)
    wasteful, frozen = (run(script, subject, scenario, frozen=frozen) for frozen in (False, True))
    assert wasteful.classes == frozen.classes
    assert len(wasteful.patches) == (1 if scenario == "single" else 2)
    for one, other in zip(wasteful.patches, frozen.patches, strict=True):
        torch.testing.assert_close(one, other)


def test_stops_only_where_the_certificate_is_met(
    script: ModuleType, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(script, "STOP_AFTER", -1)
    assert run(script, subject, "null")[2::2] == (3, False)
    monkeypatch.setattr(script, "STOP_SOFTMAX", -1.0)
    monkeypatch.setattr(script, "STOP_CHANGE", 2.0)
    assert run(script, subject, "null")[2::2] == (1, True)
    asked = []

    def certified(patches: list[Tensor], classes: tuple[int, int]) -> bool:
        asked.append((patches, classes))
        return len(asked) == 2

    found = run(script, subject, "null", certified=certified)
    assert found[2::2] == (2, True)
    assert asked[1][1] == found.classes
    assert all(torch.equal(one, other) for one, other in zip(asked[1][0], found.patches, strict=True))
    assert run(script, subject, "null", certified=lambda *_: False)[2::2] == (3, False)


def test_patches_that_do_not_fit_are_refused(script: ModuleType, subject: Subject) -> None:
    with pytest.raises(UsageError, match="expected 2 patches of 20 pixels to fit 32 pixels"):
        script.released(subject, "null", 20, 0, low=-torch.ones(3), high=torch.ones(3))
