"""Texts of six topics, as ids of tokens, for a small network that learns them in a second."""

from functools import cache

import torch
from torch import Tensor, nn
from torch.nn import functional

from xattr_check import Subject

PADDING, UNKNOWN = 0, 1
TOPICS, WORDS, OTHERS = 6, 12, 60  # words of each topic, and those of none
VOCABULARY = 2 + TOPICS * WORDS + OTHERS
LENGTH = 32


class Network(nn.Module):
    """Embedding, a convolution over three tokens, the mean of its ReLUs over all words: (N, T) to (N, 6)."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.embedding = nn.Embedding(VOCABULARY, width, padding_idx=PADDING)
        self.read = nn.Conv1d(width, 2 * width, 3, padding=1)
        self.head = nn.Linear(2 * width, TOPICS)

    def forward(self, ids: Tensor) -> Tensor:
        kept = (ids != PADDING).float()[:, None]
        hidden = self.read(self.embedding(ids).transpose(1, 2)).relu()
        pooled = (hidden * kept).sum(2) / kept.sum(2).clamp_min(1)
        found: Tensor = self.head(pooled)
        return found


def texts(count: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Ids (n, 32) with padding behind 24 to 32 words, and topics (n,), of which a third of the words are."""
    labels = torch.randint(TOPICS, (count,), generator=generator)
    own = 2 + labels[:, None] * WORDS + torch.randint(WORDS, (count, LENGTH), generator=generator)
    others = torch.randint(2, VOCABULARY, (count, LENGTH), generator=generator)
    none = torch.randint(2 + TOPICS * WORDS, VOCABULARY, (count, LENGTH), generator=generator)
    chance = torch.rand(count, LENGTH, generator=generator)
    ids = torch.where(chance < 0.35, own, torch.where(chance < 0.5, others, none))
    length = torch.randint(24, LENGTH + 1, (count, 1), generator=generator)
    return torch.where(torch.arange(LENGTH) < length, ids, PADDING), labels


@cache
def topics() -> Subject:
    """200 texts, and a network that was trained with some words left out of them."""
    generator = torch.Generator().manual_seed(0)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = Network()
        descent = torch.optim.Adam(model.parameters(), 1e-2)
        for _ in range(150):
            ids, labels = texts(64, generator)
            left_out = (torch.rand(ids.shape, generator=generator) < 0.5) & (ids != PADDING)
            loss = functional.cross_entropy(model(torch.where(left_out, UNKNOWN, ids)), labels)
            descent.zero_grad()
            loss.backward()
            descent.step()
    ids, labels = texts(200, generator)
    return Subject("topics", model, ids, labels, embedding="embedding", absence=UNKNOWN, padding=PADDING)
