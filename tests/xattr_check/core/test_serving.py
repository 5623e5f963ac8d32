"""What a method is given of a sibling, whose embedding has other numbers for the same words."""

from dataclasses import replace
from typing import Any

import pytest
import torch
from subjects import columns, images
from torch import Tensor, nn

from xattr_check import Subject
from xattr_check.core.context import rows
from xattr_check.core.method import as_method

ABSENT, PADDING = 1, 0


class Reader(nn.Module):
    """The mean word's place on three axes: (N, T) ids to (N, 3)."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.words = nn.Embedding(9, 4, padding_idx=PADDING)
        self.last = nn.Linear(4, 3)

    def forward(self, ids: Tensor) -> Tensor:
        found: Tensor = self.last(self.words(ids).mean(1))
        return found


@pytest.fixture(params=[ABSENT, None], ids=["absence", "mean word"])
def subject(request: pytest.FixtureRequest) -> Subject:
    with torch.random.fork_rng():
        own, sibling = Reader(0), Reader(1)
        ids, siblings = torch.randint(2, 9, (6, 5)), {"retrained": sibling}
        ids[::2, -1] = PADDING
        targets = torch.randint(3, (6,))
    made = Subject("read", own, ids, targets, embedding="words", absence=ABSENT, siblings=siblings)
    object.__setattr__(made, "absence", request.param)
    return made


def test_a_sibling_is_explained_from_its_own_words_on(subject: Subject) -> None:
    given: list[tuple[Tensor, Tensor]] = []

    def watching(model: nn.Module, inputs: Tensor, targets: Tensor, baseline: Tensor) -> Tensor:
        given.append((inputs, baseline))
        return inputs

    sibling, some = subject.siblings["retrained"], torch.arange(6)
    with rows(some):
        as_method(watching).bind(subject)(sibling, subject.inputs, subject.targets)
    inputs, baseline = map(torch.cat, zip(*given, strict=True))
    ids, words = subject.context["ids"], sibling.words.weight.detach()
    assert torch.equal(inputs, words[ids])
    none = words[ids[ids != PADDING]].mean(0) if subject.absence is None else words[ABSENT]
    torch.testing.assert_close(baseline, torch.where((ids != PADDING)[..., None], none, words[PADDING]))


def test_a_control_sees_the_same_whichever_model_is_explained(subject: Subject) -> None:
    """Else what asks no model would have another map for another network."""

    def magnitudes(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return inputs.abs()

    control = replace(as_method(magnitudes), control="negative", keeps_rows=True).bind(subject)
    with rows(torch.arange(6)):
        asked = subject.inputs, subject.targets
        assert torch.equal(control(subject.siblings["retrained"], *asked), control(subject.model, *asked))


@pytest.mark.parametrize("make", [columns, images])
def test_a_baseline_that_a_method_needs_is_the_mean_of_the_data(make: Any) -> None:
    subject = make()
    subject = replace(subject, inputs=subject.inputs + 2)

    def needs(model: nn.Module, inputs: Tensor, targets: Tensor, baseline: Tensor) -> Tensor:
        return (inputs - baseline).abs()

    def has(model: nn.Module, inputs: Tensor, targets: Tensor, baseline: float = 1.0) -> Tensor:
        return inputs - baseline

    def maps(function: Any, **fixed: Any) -> Tensor:
        found = as_method(function)
        found = found.with_parameters("mine", fixed) if fixed else found
        return found.bind(subject)(subject.model, subject.inputs[:3], subject.targets[:3])

    inputs = subject.inputs[:3]
    assert torch.equal(maps(needs), (inputs - subject.mean).abs())
    assert torch.equal(maps(has), inputs - 1)
    assert torch.equal(maps(needs, baseline=0.5), (inputs - 0.5).abs())
