import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from subjects import columns, images, tokens
from torch import Tensor

from xattr_check import Subject
from xattr_check.perturbation.outputs import (
    Quantity,
    descending_ranks,
    outputs_under,
    ranked_masks,
    shared_masks,
)

MEBIBYTE = 2**20


def textbook(subject: Subject, fill: Tensor, keep: Tensor, output: Quantity) -> Tensor:
    """One input, one mask at a time."""
    rows = []
    for index, (one, target) in enumerate(zip(subject.inputs, subject.targets, strict=True)):
        values = []
        for mask in keep:
            shaped = mask[None] if subject.is_image else mask[:, None] if one.ndim == 2 else mask
            with torch.no_grad():
                logits = subject.model(torch.where(shaped, one, fill[index])[None])
            values.append((logits.softmax(1) if output == "probability" else logits)[0, int(target)].double())
        rows.append(torch.stack(values))
    return torch.stack(rows)


@pytest.mark.parametrize("output", ["probability", "logit"])
@pytest.mark.parametrize("make", [images, columns, tokens])
def test_outputs_agree_with_a_loop(make: object, output: Quantity) -> None:
    subject: Subject = make(count=4)  # type: ignore[operator]
    keep = torch.rand(5, *subject.spatial, generator=torch.Generator().manual_seed(0)) < 0.5
    fill = subject.inputs.flip(0)
    found = outputs_under(
        subject.model,
        subject.inputs,
        subject.targets,
        fill,
        shared_masks(keep),
        5,
        output=output,
        memory=MEBIBYTE,
        layout=subject.layout,
    )
    assert found.dtype == torch.float64
    # Rows of another batch size are rounded otherwise, in float32.
    torch.testing.assert_close(found, textbook(subject, fill, keep, output), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("make", [images, columns, tokens])
def test_masks_of_shares_mix_inputs_and_fill(make: object) -> None:
    subject: Subject = make(count=4)  # type: ignore[operator]
    shares = torch.rand(5, *subject.spatial, generator=torch.Generator().manual_seed(0))
    shares[3], shares[4] = 0, 1
    fill = subject.inputs.flip(0)

    def under(keep: Tensor) -> Tensor:
        return outputs_under(
            subject.model,
            subject.inputs,
            subject.targets,
            fill,
            shared_masks(keep),
            len(keep),
            output="logit",
            memory=50_000,
            layout=subject.layout,
        )

    found = under(shares)
    shaped = shares[:, None] if subject.is_image else shares[..., None] if fill.ndim == 3 else shares
    with torch.no_grad():
        slow = torch.stack([subject.model(fill + one * (subject.inputs - fill)) for one in shaped], 1)
    slow = slow.gather(2, subject.targets[:, None, None].expand(-1, 5, 1)).squeeze(2).double()
    torch.testing.assert_close(found, slow, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found[:, 3:], under(shares[3:] > 0.5), rtol=1e-5, atol=1e-6)
    assert torch.equal(found, under(shares.double()))


@pytest.mark.parametrize("memory", [1, 50_000, 2**30])
def test_chunks_do_not_change_the_result(memory: int) -> None:
    subject = images(count=3)
    keep = torch.rand(7, 12, 12, generator=torch.Generator().manual_seed(0)) < 0.5
    sizes: list[int] = []
    handle = subject.model.register_forward_pre_hook(lambda _, args: sizes.append(len(args[0])))

    def under(limit: int) -> Tensor:
        sizes.clear()
        return outputs_under(
            subject.model,
            subject.inputs,
            subject.targets,
            torch.zeros_like(subject.inputs),
            shared_masks(keep),
            7,
            output="logit",
            memory=limit,
        )

    whole = under(2**30)
    assert max(sizes) == 21
    found = under(memory)
    handle.remove()
    assert sum(sizes) == 21
    assert (max(sizes) == 1) == (memory == 1)
    torch.testing.assert_close(found, whole, rtol=1e-5, atol=1e-6)


def test_the_model_is_run_without_gradients_and_left_alone() -> None:
    subject = images(count=2)
    found = outputs_under(
        subject.model,
        subject.inputs,
        subject.targets,
        torch.zeros_like(subject.inputs),
        shared_masks(torch.ones(1, 12, 12, dtype=torch.bool)),
        1,
        output="logit",
        memory=MEBIBYTE,
    )
    assert not found.requires_grad
    assert not any(module._forward_hooks for module in subject.model.modules())
    with torch.no_grad():
        logits = subject.model(subject.inputs).gather(1, subject.targets[:, None]).double()
    torch.testing.assert_close(found, logits, rtol=1e-5, atol=1e-6)


def test_ranked_masks_keep_the_features_of_some_ranks() -> None:
    ranks = torch.tensor([[2, 0, 1, 3], [0, 1, 2, 3]]).reshape(2, 2, 2)
    mask_of = ranked_masks(ranks, torch.tensor([0, 0, 1]), torch.tensor([0, 1, 4]))
    rows, columns = torch.tensor([0, 0, 1, 1]), torch.tensor([1, 2, 0, 2])
    assert mask_of(rows, columns).flatten(1).tolist() == [
        [False, True, False, False],
        [True, False, True, True],
        [False, False, False, False],
        [False, True, True, True],
    ]


@given(
    st.lists(st.lists(st.integers(-2, 2), min_size=6, max_size=6), min_size=1, max_size=4), st.integers(0, 99)
)
def test_ranks_agree_with_brute_force(values: list[list[int]], seed: int) -> None:
    scores = torch.tensor(values, dtype=torch.float64)
    ranks = descending_ranks(scores, torch.Generator().manual_seed(seed))
    for row, rank in zip(values, ranks.tolist(), strict=True):
        assert sorted(rank) == list(range(6))
        for i in range(6):
            for j in range(6):
                if row[i] > row[j]:
                    assert rank[i] < rank[j]


def test_ties_fall_at_random_but_alike_for_all_inputs() -> None:
    tied = torch.zeros(3, 50)
    ranks = descending_ranks(tied, torch.Generator().manual_seed(0))
    assert torch.equal(ranks[0], ranks[1])
    assert torch.equal(ranks[0], ranks[2])
    assert ranks[0].tolist() != list(range(50))
    assert not torch.equal(ranks, descending_ranks(tied, torch.Generator().manual_seed(1)))
    assert torch.equal(ranks, descending_ranks(tied, torch.Generator().manual_seed(0)))
