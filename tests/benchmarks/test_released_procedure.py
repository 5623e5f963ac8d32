"""The pieces of the re-created procedure that could be wrong without anyone noticing."""

import importlib.util
import math
import random
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch import Tensor, nn

from xattr_check import Subject, UsageError

FILE = Path(__file__).parents[2] / "benchmarks" / "released_procedure.py"
CLASSES = (1, 2)


@pytest.fixture(scope="module")
def procedure() -> Iterator[ModuleType]:
    spec = importlib.util.spec_from_file_location("released_procedure", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]


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


def run(procedure: ModuleType, subject: Subject, scenario: str, **settings: object) -> tuple:
    settings = {"iterations": 3, **settings}
    return procedure.released(subject, scenario, 12, 0, low=-torch.ones(3), high=torch.ones(3), **settings)


def test_focal_weight(procedure: ModuleType) -> None:
    assert procedure.focal_weight(0.5) == pytest.approx(0.5**0.8 * math.log(2))
    assert procedure.focal_weight(1.0) == 0
    weights = [procedure.focal_weight(key) for key in (0.05, 0.3, 0.6, 0.95)]
    assert weights == sorted(weights, reverse=True)


def test_keys(procedure: ModuleType) -> None:
    change = procedure.relative_change(torch.tensor(-3.0), torch.tensor(2.0))
    assert change == pytest.approx(math.tanh(5 / 2))
    assert change == procedure.relative_change(torch.tensor(2.0), torch.tensor(-3.0))
    keys = procedure.Keys(procedure.SCENARIOS["null"][1])
    keys.update(1.0, [0.0, 0.7])
    keys.update(1.0, [0.0, 0.7])
    assert keys.softmax == pytest.approx(1 - 0.5 * 0.9**2)
    assert keys.changes == pytest.approx([0.5 * 0.9**2, 0.7 - 0.2 * 0.9**2])


@pytest.mark.parametrize("scenario", ["null", "double", "single", "saturation"])
@pytest.mark.parametrize("warm_up", [True, False])
def test_gradients_reach_only_the_patch_being_added(
    procedure: ModuleType, subject: Subject, scenario: str, warm_up: bool
) -> None:
    aims = procedure.SCENARIOS[scenario]
    for aim in aims:
        patches = [torch.rand(1, 3, 12, 12).requires_grad_() for _ in aims]
        corners = procedure.place(len(aims), 12, 32, random.Random(0))
        logits = {
            coalition: subject.model(
                procedure.composite(torch.zeros(1, 3, 32, 32), patches, corners, coalition)
            )
            for coalition in procedure.coalitions_of(aims)
        }
        keys = None if warm_up else procedure.Keys(aim)
        procedure.loss_of(aim, logits, CLASSES, keys).backward()
        for index, patch in enumerate(patches):
            reached = patch.grad is not None and bool(patch.grad.any())
            assert reached == (index == aim.patch)


def test_losses_by_hand(procedure: ModuleType) -> None:
    held, null = procedure.SCENARIOS["null"]
    logits = {
        (): torch.tensor([[0.0, 1.0, 0.0]]),
        (0,): torch.tensor([[0.0, 9.0, 0.0]]),
        (1,): torch.tensor([[0.0, 3.0, 7.0]]),
        (0, 1): torch.tensor([[0.0, 4.0, 7.0]]),
    }
    weight = 0.5**0.8 * math.log(2)
    assert float(procedure.loss_of(null, logits, CLASSES, None)) == pytest.approx(-5 * 7)
    loss = procedure.loss_of(null, logits, CLASSES, procedure.Keys(null))
    assert float(loss) == pytest.approx(-10 * weight * 7 + 5 * weight * (5**2 + 2**2))
    softmax = math.exp(9) / (math.exp(9) + 2)
    assert float(procedure.loss_of(held, logits, CLASSES, None)) == pytest.approx(
        5 * (softmax - 0.95) ** 2, rel=1e-4
    )
    found, changes = procedure.measure(null, logits, CLASSES)
    assert found == pytest.approx(math.exp(7) / (math.exp(7) + math.exp(3) + 1))
    assert changes == pytest.approx([math.tanh(5 / 4), math.tanh(2 / 1)])


def test_patches_never_overlap_and_go_everywhere(procedure: ModuleType) -> None:
    draws, covered = random.Random(0), torch.zeros(2, 32, 32)
    for _ in range(2000):
        both = torch.zeros(32, 32)
        for patch, (row, column) in enumerate(procedure.place(2, 14, 32, draws)):
            both[row : row + 14, column : column + 14] += 1
            covered[patch, row : row + 14, column : column + 14] = 1
        assert both.sum() == 2 * 14 * 14
        assert both.max() == 1
    assert covered.all()


def test_the_prior_is_the_released_one_at_its_size(procedure: ModuleType) -> None:
    parameters, products = procedure.cost_of_prior(86)
    assert parameters / 1e6 == pytest.approx(2.9, abs=0.05)
    assert products / 1e9 == pytest.approx(4.1, abs=0.05)


@pytest.mark.parametrize("side", [8, 12, 13, 14])
def test_the_prior_makes_the_patch(procedure: ModuleType, side: int) -> None:
    patch = procedure.PatchPrior(side, 1)()
    assert patch.shape == (1, 1, side, side)
    assert patch.min() > 0
    assert patch.max() < 1


@pytest.mark.parametrize("frozen", [True, False])
def test_the_model_is_left_as_it_was(procedure: ModuleType, subject: Subject, frozen: bool) -> None:
    weight = next(subject.model.parameters())
    weight.requires_grad_(False)
    before = {name: value.clone() for name, value in subject.model.state_dict().items()}
    state = torch.get_rng_state()
    run(procedure, subject, "double", frozen=frozen)
    assert all(torch.equal(value, before[name]) for name, value in subject.model.state_dict().items())
    assert all(parameter.grad is None for parameter in subject.model.parameters())
    assert [parameter.requires_grad for parameter in subject.model.parameters()] == [False] + 5 * [True]
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("scenario", ["null", "double", "single", "saturation"])
def test_leaving_out_the_waste_changes_nothing(
    procedure: ModuleType, subject: Subject, scenario: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Both phases of the optimisation.
    monkeypatch.setattr(procedure, "WARM_UP", 1)
    monkeypatch.setattr(procedure, "SATURATION_WARM_UP", 1)
    wasteful, frozen = (run(procedure, subject, scenario, frozen=frozen) for frozen in (False, True))
    assert wasteful.classes == frozen.classes
    assert len(wasteful.patches) == (1 if scenario == "single" else 2)
    for one, other in zip(wasteful.patches, frozen.patches, strict=True):
        torch.testing.assert_close(one, other)


def test_stops_only_where_the_certificate_is_met(
    procedure: ModuleType, subject: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(procedure, "STOP_AFTER", -1)
    assert run(procedure, subject, "null")[2::2] == (3, False)
    monkeypatch.setattr(procedure, "STOP_SOFTMAX", -1.0)
    monkeypatch.setattr(procedure, "STOP_CHANGE", 2.0)
    assert run(procedure, subject, "null")[2::2] == (1, True)
    asked = []

    def certified(patches: list[Tensor], classes: tuple[int, int]) -> bool:
        asked.append((patches, classes))
        return len(asked) == 2

    found = run(procedure, subject, "null", certified=certified)
    assert found[2::2] == (2, True)
    assert asked[1][1] == found.classes
    assert all(torch.equal(one, other) for one, other in zip(asked[1][0], found.patches, strict=True))
    assert run(procedure, subject, "null", certified=lambda *_: False)[2::2] == (3, False)


def test_patches_that_do_not_fit_are_refused(procedure: ModuleType, subject: Subject) -> None:
    with pytest.raises(UsageError, match="expected 2 patches of 20 pixels to fit 32 pixels"):
        procedure.released(subject, "null", 20, 0, low=-torch.ones(3), high=torch.ones(3))
