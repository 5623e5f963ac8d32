"""Ids of tokens with padding: what is right passes on real texts, and what is wrong fails."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from judging import seeds, shared_folder
from torch import Tensor, nn

from xattr_check import Subject, load_subject, methods, run_battery
from xattr_check.core.context import rows
from xattr_check.core.method import as_method

CHECKS = "shape or depends_on_target or deletion or insertion or sensitivity_n or iou"


def drops(model: nn.Module, ids: Tensor, targets: Tensor) -> Tensor:
    """(N, T): what the logit loses without a word, as one who knows nothing of xattr-check would write it."""
    with torch.no_grad():
        whole = model(ids).gather(1, targets[:, None])
        maps = torch.zeros(ids.shape)
        for place in range(int((ids != 0).sum(1).max())):
            less = ids.clone()
            less[:, place] = less[:, place].clamp_max(1)  # <unk> for a word, padding for padding
            maps[:, place] = (whole - model(less).gather(1, targets[:, None]))[:, 0]
    return maps


def negated(model: nn.Module, ids: Tensor, targets: Tensor) -> Tensor:
    return -drops(model, ids, targets)


def shifted_by_one(model: nn.Module, ids: Tensor, targets: Tensor) -> Tensor:
    return drops(model, ids, targets).roll(1, 1)


def reversed_in_time(model: nn.Module, ids: Tensor, targets: Tensor) -> Tensor:
    return drops(model, ids, targets).flip(1)


def padding_ranked(model: nn.Module, ids: Tensor, targets: Tensor) -> Tensor:
    """As if a text stood behind its padding."""
    lengths = (ids != 0).sum(1).tolist()
    pairs = zip(drops(model, ids, targets), lengths, strict=True)
    return torch.stack([one.roll(len(one) - length) for one, length in pairs])


def norm_in_disguise(
    model: nn.Module, ids: Tensor, targets: Tensor, embedding: nn.Module, context: Mapping[str, Tensor]
) -> Tensor:
    with torch.no_grad():
        share = model(ids).softmax(1).gather(1, targets[:, None])
        norms: Tensor = embedding(context["ids"]).norm(dim=2) * (0.5 + share)
    return norms


def wrong_axis(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Sums over tokens and not over the embedding."""
    leaves = inputs.detach().requires_grad_()
    (slopes,) = torch.autograd.grad(model(leaves).gather(1, targets[:, None]).sum(), leaves)
    sums = (slopes * leaves).sum(1).detach()
    return sums[:, torch.arange(leaves.shape[1]) % leaves.shape[2]]


BROKEN: list[Callable[..., Tensor]] = [
    *(negated, shifted_by_one, reversed_in_time, padding_ranked, norm_in_disguise, wrong_axis)
]


@pytest.fixture(scope="module")
def reviews() -> Subject:
    return load_subject("reviews")


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return shared_folder(tmp_path_factory, "reviews")


@pytest.mark.parametrize("seed", seeds())
def test_what_is_right_passes(reviews: Subject, storage: Path, seed: int) -> None:
    results = run_battery("xattr:occlusion", reviews, checks=CHECKS, seed=seed, storage=storage)
    assert {one.check: one.status for one in results if one.status != "pass"} == {}
    assert all("word_rarity" in one.controls for one in results if one.check in ("deletion", "sensitivity_n"))


@pytest.mark.parametrize("seed", seeds())
@pytest.mark.parametrize("method", BROKEN)
def test_what_is_wrong_fails(
    method: Callable[..., Tensor], reviews: Subject, storage: Path, seed: int
) -> None:
    results = run_battery(method, reviews, checks="deletion or sensitivity_n", seed=seed, storage=storage)
    assert "fail" in {one.status for one in results}
    assert "pass" not in {one.status for one in results}


def test_maps_of_ids_are_those_of_embeddings(reviews: Subject) -> None:
    some = torch.tensor([5, 9])
    with rows(some):
        asked = reviews.model, reviews.inputs[some], reviews.targets[some]
        by_ids, own = (one.bind(reviews)(*asked) for one in (as_method(drops), methods()["occlusion"]))
    torch.testing.assert_close(by_ids, own, rtol=1e-4, atol=1e-4)


def test_padding_is_not_counted(reviews: Subject, storage: Path) -> None:
    """Curves end where the words do, and whatever is on padding changes no figure."""

    def by_id(model: nn.Module, inputs: Tensor, targets: Tensor, context: Mapping[str, Tensor]) -> Tensor:
        return context["ids"].float()

    def high_on_padding(
        model: nn.Module, inputs: Tensor, targets: Tensor, context: Mapping[str, Tensor]
    ) -> Tensor:
        return context["ids"].float().where(context["ids"] != 0, 1e6)

    found = [
        {one.check: one.interval for one in run_battery(method, reviews, checks=CHECKS, storage=storage)}
        for method in (by_id, high_on_padding)
    ]
    assert found[0] == found[1]
