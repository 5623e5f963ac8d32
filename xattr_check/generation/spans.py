"""Spans of tokens as features: ids, between two of which there is none."""

from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar, cast

import torch
from torch import Tensor, nn

from xattr_check.core.context import IDS, Contextual
from xattr_check.core.layouts import Layout
from xattr_check.core.subject import Subject
from xattr_check.errors import UsageError
from xattr_check.generation import patches as boxes

# Of so many texts it is no chance that all begin or end with the same token: it marks that they do.
TEXTS = 8
# A word that is drawn may move outputs, in the midst of none, by QUIET of what they vary by over texts; the
# quietest LEAST of all words are drawn in any case. So many of the most usual are tried, in so many texts.
QUIET, LEAST = 0.1, 0.25
TRIED, IN_TEXTS = 512, 8
# Texts over which outputs' spread is taken, and that are read at once.
READ = 64


class Reader(nn.Module):
    """A model of embedded tokens, as it reads ids (n, T); gradients reach what they are embedded as.

    shown: (n, T, E) of each call since it was emptied, where gradients are asked for.
    """

    def __init__(self, model: Contextual) -> None:
        super().__init__()
        self.model = model
        self.shown: list[Tensor] = []

    def vectors(self, ids: Tensor) -> Tensor:
        """(m, E): what ids (m,) are embedded as."""
        embedded: Tensor = self.model.xattr_embed(ids)
        return embedded

    def forward(self, ids: Tensor) -> Tensor:
        """What the model returns."""
        if torch.is_grad_enabled():
            embedded = self.model.xattr_embed(ids).requires_grad_()
            self.shown.append(embedded)
            found: Tensor = self.model(embedded, ids=ids)
            return found
        # Texts in which little is drawn are often the same: each is read once.
        once, which = ids.unique(dim=0, return_inverse=True)
        outputs: Tensor = self.model(self.model.xattr_embed(once), ids=once)
        return outputs[which]


@dataclass(frozen=True, eq=False)
class Spans:
    """Spans of words that lie apart, in texts that are long enough.

    layout: of the inputs, ids (N, T). ids: those of texts (m, T) that are as long as half of them are, at the
    least. rows: (m,) int64, which these are. ordinary: (m, T) bool, which of their tokens are words: neither
    padding, nor what marks the beginning or the end of every text. first, length: of the places at which all
    have words. words: (W,) int64, what a span may consist of. drawn: (M,) int64, all words of the texts.
    absence: what stands for no word, or None. model: what reads ids.
    """

    layout: Layout
    ids: Tensor
    rows: Tensor
    ordinary: Tensor
    first: int
    length: int
    words: Tensor
    drawn: Tensor
    absence: int | None
    model: nn.Module

    unit: ClassVar[str] = "tokens"
    least: ClassVar[int] = 1
    movable: ClassVar[bool] = True
    priors: ClassVar[tuple[str, ...]] = ("words",)

    @property
    def remedy(self) -> str:
        """What stands for no word: without it a reference consists of words, which say something."""
        return "" if self.absence is not None else "absence=ID of the subject, the id that stands for no word"

    @classmethod
    def of(cls, subject: Subject) -> "Spans":
        """Those of a subject whose inputs are ids. Raises UsageError where there is no place for any."""
        ids = subject.context[IDS]
        valid = torch.ones_like(ids, dtype=torch.bool) if subject.valid is None else subject.valid
        ordinary = _between_marks(ids, valid)
        counts = ordinary.sum(1)
        rows = (counts >= counts.median()).nonzero().squeeze(1)
        marks = ids[valid & ~ordinary].unique().tolist()
        out = [*marks, *(one for one in (subject.absence, subject.padding) if one is not None)]
        drawn = ids[ordinary]
        drawn = drawn[~torch.isin(drawn, drawn.new_tensor(out))]
        common = ordinary[rows].all(0)
        if not bool(common.any()) or not len(drawn):
            raise UsageError(
                "texts have words in no place in common",
                option="subject",
                value=subject.name,
                hint="let them all begin, or all end, at the same place",
            )
        first = int(common.int().argmax())
        length = int(common[first:].int().cumprod(0).sum())
        return cls(
            subject.layout,
            ids[rows],
            rows,
            ordinary[rows],
            first,
            length,
            drawn.unique(),
            drawn,
            subject.absence,
            Reader(cast(Contextual, subject.model)),
        )

    @property
    def size(self) -> tuple[int, ...]:
        """How many places there are for words."""
        return (self.length,)

    @property
    def starts(self) -> tuple[int, ...]:
        """The first place of a word."""
        return (self.first,)

    @property
    def key(self) -> list[object]:
        """What places depend on besides a plan, and the words that spans consist of."""
        return [self.layout.name, self.first, self.length, *self.words.tolist()]

    def inputs_of(self, subject: Subject) -> Tensor:
        """(N, T) int64: the ids."""
        return subject.context[IDS]

    def reading(self, model: nn.Module) -> nn.Module:
        """The model as it reads ids."""
        return Reader(cast(Contextual, model))

    def rows_of(self, inputs: Tensor) -> Tensor:
        """(m,) int64: texts that are long enough."""
        return self.rows

    def patch_shape(self, side: int) -> tuple[int, ...]:
        """As many ids."""
        return (side,)

    def side_of(self, patches: Tensor) -> int:
        """How many ids patches (n, F, side) have."""
        return patches.shape[-1]

    def place(
        self,
        count: int,
        features: int,
        side: int,
        generator: torch.Generator,
        *,
        gap: int = 0,
        together: bool = False,
    ) -> Tensor:
        """(count, features, 1) int64: see `patches.place`; none lies on padding or on a mark."""
        return self.first + boxes.place(
            count, features, side, self.size, generator, gap=gap, together=together, unit=self.unit
        )

    def paste(self, inputs: Tensor, patches: Tensor, places: Tensor) -> Tensor:
        """Ids (N, T) with spans (N, side) that begin at places (N, 1)."""
        return inputs.scatter(1, _inside(places, patches.shape[1]), patches)

    def cut(self, inputs: Tensor, places: Tensor, side: int) -> Tensor:
        """(N, side): the ids of inputs (N, T) from places (N, 1) on."""
        return inputs.gather(1, _inside(places, side))

    def mask(self, places: Tensor, side: int) -> Tensor:
        """(N, *map_shape) bool: the tokens of a span at each place (N, 1)."""
        found = torch.zeros(len(places), *self.layout.spatial, dtype=torch.bool, device=places.device)
        return self.layout.maps(found.scatter(1, _inside(places, side), True))

    def at(self, values: Tensor, places: Tensor) -> Tensor:
        """The values themselves: ids have no range."""
        return values

    def noise(
        self, inputs: Tensor, low: Tensor, high: Tensor, width: float, count: int, generator: torch.Generator
    ) -> Tensor:
        """(count, T): texts of which a share of the words, the width, is drawn from those that are quiet.

        In place of the others is what stands for no word; where nothing does, all are drawn. Marks and
        padding are those of texts of the subject.
        """
        chosen = torch.randint(len(self.ids), (count,), generator=generator)
        which = torch.randint(len(self.quiet), (count, *self.layout.spatial), generator=generator)
        noisy = torch.rand(count, *self.layout.spatial, generator=generator) < width
        drawn = self.quiet[which.to(inputs.device)]
        if self.absence is not None:
            drawn = torch.where(noisy.to(inputs.device), drawn, self.absence)
        rows = chosen.to(inputs.device)
        return torch.where(self.ordinary[rows], drawn, self.ids[rows])

    @cached_property
    @torch.no_grad()
    def quiet(self) -> Tensor:
        """(M',) int64: the words of all texts but those that say something where no other word stands.

        A reference with such a word says something already, whatever a span does.
        """
        if self.absence is None:
            return self.drawn
        words, counts = self.drawn.unique(return_counts=True)
        words = words[counts.argsort(descending=True, stable=True)[:TRIED]]
        generator = torch.Generator().manual_seed(0)
        squares = []
        for row in torch.randint(len(self.ids), (IN_TEXTS,), generator=generator).tolist():
            blank = torch.where(self.ordinary[row], self.absence, self.ids[row])[None]
            places = self.first + torch.randint(self.length, (len(words), 1), generator=generator)
            texts = blank.expand(len(words), -1).scatter(1, places.to(blank.device), words[:, None])
            squares.append((self._read(texts) - self._read(blank)).square())
        moved = torch.stack(squares).mean(0).sqrt().amax(1)
        allowed = QUIET * self._read(self.ids[:READ]).std(0, correction=0).mean()
        kept = words[moved <= allowed.maximum(moved.quantile(LEAST))]
        return self.drawn[torch.isin(self.drawn, kept)]

    def _read(self, texts: Tensor) -> Tensor:
        """(n, K) what the model makes of ids (n, T)."""
        return torch.cat([self.model(part).float() for part in texts.split(READ)])

    def shares(self, pieces: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """The pieces (n, side) themselves; in place of what no span consists of, the next word by number."""
        after = torch.searchsorted(self.words, pieces.contiguous()).clamp_max(len(self.words) - 1)
        return self.words[after]

    def values(self, shares: Tensor, low: Tensor, high: Tensor) -> Tensor:
        """Ids as they are."""
        return shares


def _inside(places: Tensor, side: int) -> Tensor:
    """(N, side): the tokens of spans that begin at places (N, 1)."""
    return places + torch.arange(side, device=places.device)


def _between_marks(ids: Tensor, valid: Tensor) -> Tensor:
    """(N, T) bool: the tokens of texts but padding and the first and last ones that all have in common."""
    found = valid.clone()
    if len(ids) < TEXTS:
        return found
    for backwards in (False, True):
        while True:
            seen = found.flip(1) if backwards else found
            outer = seen.int().argmax(1, keepdim=True)
            outer = ids.shape[1] - 1 - outer if backwards else outer
            token = ids.gather(1, outer)
            left = found.scatter(1, outer, False)
            if not bool((token == token[0]).all()) or not bool(left.any(1).all()):
                break
            found = left
    return found
