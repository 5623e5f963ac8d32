"""Controls of texts: how rare a word is, and where it stands."""

import math

import torch
from torch import Tensor, nn

import xattr_check
from xattr_methods.controls.position import position
from xattr_methods.controls.word_rarity import word_rarity


class Bag(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(6, 4, padding_idx=0), nn.Linear(4, 2)

    def forward(self, ids: Tensor) -> Tensor:
        found: Tensor = self.head(self.embedding(ids).sum(1))
        return found


IDS = torch.tensor([[1, 2, 3], [1, 4, 0], [1, 2, 0]])


def test_rare_words_and_early_ones() -> None:
    """Padding is no word: 7 words, of which the first stands three times."""
    subject = xattr_check.Subject(
        "texts", Bag(), IDS, torch.zeros(3).long(), embedding="embedding", padding=0
    )
    asked = subject.model, subject.inputs, subject.targets
    found = word_rarity(*asked, context=subject.context, subject=subject)
    expected = {1: math.log(7 / 3), 2: math.log(7 / 2), 3: math.log(7), 4: math.log(7)}
    for row, words in enumerate(IDS.tolist()):
        for place, word in enumerate(words):
            if word:
                assert math.isclose(float(found[row, place]), expected[word], rel_tol=1e-6)
    torch.testing.assert_close(position(*asked), torch.tensor([1, 2 / 3, 1 / 3]).expand(3, -1))
