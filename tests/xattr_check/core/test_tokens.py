"""Ids of tokens and their words."""

import torch
from torch import nn

from xattr_check import Subject
from xattr_check.core.context import rows
from xattr_check.core.tokens import words_of


def test_words_by_their_names_and_padding_by_none() -> None:
    ids, valid = (
        torch.tensor([[2, 1, 0], [1, 0, 0]]),
        torch.tensor([[True, True, False], [True, False, False]]),
    )
    assert words_of(ids, valid, ("<pad>", "a", "b")) == [["b", "a", ""], ["a", "", ""]]
    assert words_of(ids, None, ()) == [["2", "1", "0"], ["1", "0", "0"]]


def test_one_id_for_padding_and_for_no_word_may_stand_inside_other_texts() -> None:
    """As where words of a text are left out, and nothing but the padding stands for none."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Embedding(9, 3, padding_idx=0), nn.Flatten(), nn.Linear(12, 2))
    ids = torch.tensor([[1, 2, 3, 0], [4, 5, 6, 7]])
    own = Subject("texts", model, ids, torch.zeros(2).long(), embedding="0")
    assert own.valid is not None
    others = torch.tensor([[1, 0, 3, 0]])
    made = own.with_inputs(others, torch.zeros(1).long(), {})
    assert made.valid is None
    with rows(torch.arange(1)):
        assert torch.equal(made.model(made.inputs), model(others))
    apart = Subject("texts", model, ids, torch.zeros(2).long(), embedding="0", absence=8)
    kept = apart.with_inputs(torch.tensor([[1, 8, 3, 0]]), torch.zeros(1).long(), {})
    assert kept.valid is not None
    assert kept.valid.tolist() == [[True, True, True, False]]
