"""Ids of tokens and their words."""

import torch

from xattr_check.core.tokens import words_of


def test_words_by_their_names_and_padding_by_none() -> None:
    ids, valid = (
        torch.tensor([[2, 1, 0], [1, 0, 0]]),
        torch.tensor([[True, True, False], [True, False, False]]),
    )
    assert words_of(ids, valid, ("<pad>", "a", "b")) == [["b", "a", ""], ["a", "", ""]]
    assert words_of(ids, None, ()) == [["2", "1", "0"], ["1", "0", "0"]]
