"""Samples whose patches are ids: words are exchanged for others, and what makes them better is kept."""

from collections.abc import Callable
from typing import cast

import torch
from torch import Tensor

from xattr_check.generation.certify import NINETIETH, SOFTMAX, Outcome, Variant, deviation, unit
from xattr_check.generation.objectives import ratios
from xattr_check.generation.optimisation import NEAR, Block
from xattr_check.generation.prior import Words
from xattr_check.generation.spans import Reader, Spans

# References that a step shows each sample, and the worst of them, which guide it. With fewer, what hardly any
# draw does is never seen.
DRAWS_A_STEP, GUIDING = 32, 4
# Candidates that are shown on all of these, of those that are best where they were looked for.
FINALISTS = 4
# How many of the words that the gradient finds best are exchanged at once, each time in another place.
AT_ONCE = (1, 2, 3, 5)
# Single exchanges besides, each at a place by chance, for a word by chance among so many of the best there.
CHANCES, BEST = 12, 16
# Steps of an attempt until its sample is certified for the first time, and from then to the next.
FIRST, EVERY = 5, 5
# Draws of a group, so few that their 90th percentile is the worst of them; groups, and how many may break.
# Then less than 1 % of all draws break a bound, of which a certificate allows a tenth, and a sample that is
# looked at again and again has no luck.
GROUP, GROUPS, BROKEN = 8, 64, 4
# Nothing warms up: what a step compares is the requirements themselves.
LATE = 10**6

# Spans (m, F, side) int64, classes, references (m, K, T) and places, as `Stage.outcome` takes them.
Shown = tuple[Tensor, Tensor, Tensor, Tensor]


class Exchange(Block):
    """A search with the gradient as guide, as adversarial triggers are found [wallace2019].

    The loss of an objective has a gradient by what each token is embedded as: that times the difference of
    two words is, in first order, what exchanging them does. So a step finds candidates where spans are
    farthest from the requirements, shows the best exactly, on the same many references as the spans that they
    would replace, and keeps whichever is nearest.
    """

    @property
    def looks(self) -> tuple[int, int]:
        """Sooner than where steps are small."""
        return FIRST, EVERY

    @property
    def marks(self) -> tuple[float, ...]:
        """None: a search gets on by leaps."""
        return ()

    def _near(self, rows: Tensor) -> Tensor:
        """(m,) bool: by what the last step saw, which is as many draws as tell it."""
        return self._worst(self._figures(rows)) <= NEAR

    def _learn(self) -> None:
        maker, rows = self.maker, self.active.nonzero().squeeze(1)
        variants = self.objective.variants(self.plan.scenario)
        spans = self._made()[rows.to(maker.device)]
        seeds = self._seeds("step", rows)
        references, places = maker.draw(seeds, DRAWS_A_STEP)

        def work(part: slice) -> tuple[Tensor, Tensor]:
            chosen = rows[part].to(maker.device)
            shown = spans[part], self.classes[chosen], references[part], places[part]
            worst = self._guiding(shown, variants)
            candidates = self._candidates(worst, variants, seeds[part])
            finalists, _ = self._best(candidates, worst, variants, FINALISTS)
            # As they are, spans are never left out for what the worst references say of them.
            last = torch.cat([spans[part][:, None], finalists], 1)
            kept, averages = self._best(last, shown, variants, 1)
            return kept.squeeze(1), averages.squeeze(1)

        shown_at_once = DRAWS_A_STEP * (1 + FINALISTS)
        parts = maker.stage.in_chunks(work, len(rows), shown_at_once, len(variants))
        found, after = (torch.cat(some) for some in zip(*parts, strict=True))
        features = self.plan.scenario.features
        self._words.ids.unflatten(0, (-1, features))[rows.to(maker.device)] = found
        if self.averages is None:
            self.averages = after.new_full((len(self.active), after.shape[1]), torch.nan)
        self.averages[rows.to(after.device)] = after
        broken = torch.zeros_like(self.active)
        broken[rows] = ~torch.isfinite(after).all(1).cpu()
        self._give_up(broken)

    @torch.no_grad()
    def _guiding(self, shown: Shown, variants: list[Variant]) -> Shown:
        """What is shown, on those references alone on which spans are farthest from the certificate."""
        spans, classes, references, places = shown
        outcome, kind = self.maker.stage.outcome(*shown, variants), self.plan.scenario
        effect = unit(outcome.effect, kind).clamp_min(1e-12)[..., None]
        change = deviation(outcome.change, outcome.effect, kind).abs() / effect / NINETIETH
        own = (1 - outcome.own.exp()) / (1 - SOFTMAX)
        off = torch.cat([own, change], 2).nan_to_num(torch.inf, torch.inf).amax(2)
        worst, row = off.topk(GUIDING, 1).indices, torch.arange(len(spans), device=spans.device)[:, None]
        return spans, classes, references[row, worst], places[row, worst]

    def _candidates(self, shown: Shown, variants: list[Variant], seeds: Tensor) -> Tensor:
        """(m, candidates, F, side): spans with words exchanged.

        seeds: (m,), of what is by chance.
        """
        spans = shown[0]
        gains = self._gains(shown, variants).flatten(1, 2)
        best, word = gains.min(2)
        order = best.argsort(1)
        flat = spans.flatten(1)
        words = self._spans.words
        found = []
        for count in AT_ONCE:
            where = order[:, :count]
            found.append(flat.scatter(1, where, words[word.gather(1, where)]))
        ranked = (-gains).topk(min(BEST, len(words)), 2).indices
        for where, rank in zip(*self._chances(seeds, *ranked.shape[1:]), strict=True):
            at = ranked.gather(1, where[:, None, None].expand(-1, 1, ranked.shape[2])).squeeze(1)
            chosen = words[at.gather(1, rank[:, None])]
            found.append(flat.scatter(1, where[:, None], chosen))
        candidates: Tensor = torch.stack(found, 1).unflatten(2, spans.shape[1:])
        return candidates

    def _chances(self, seeds: Tensor, places: int, ranks: int) -> tuple[Tensor, Tensor]:
        """(CHANCES, m) each: places and ranks by chance, of each sample from its own seed."""
        drawn = []
        for seed in seeds.tolist():
            generator = torch.Generator().manual_seed(seed)
            drawn.append([torch.randint(most, (CHANCES,), generator=generator) for most in (places, ranks)])
        where, rank = (torch.stack(some, 1).to(self.maker.device) for some in zip(*drawn, strict=True))
        return where, rank

    def _gains(self, shown: Shown, variants: list[Variant]) -> Tensor:
        """(m, F, side, W): what each word in each place does to the loss, in first order."""
        spans, _, _, places = shown
        reader = self._reader
        reader.shown.clear()
        with torch.enable_grad():
            loss, _ = self._loss(self.maker.stage.outcome(*shown, variants))
            gradients = torch.autograd.grad(
                loss.sum(), reader.shown, allow_unused=True, materialize_grads=True
            )
        reader.shown.clear()
        vectors = reader.vectors(self._spans.words)
        count, features, side = spans.shape
        slopes = vectors.new_zeros(count, features, side, vectors.shape[1])
        guided = [variant for variant in variants if variant[1]]
        every = torch.cat(gradients).unflatten(0, (len(guided), count, -1))
        for (_, free), summed in zip(guided, every, strict=True):
            for feature in range(features):
                if free >> feature & 1:
                    where = places[:, :, feature, :, None] + torch.arange(side, device=places.device)
                    index = where.reshape(count, -1, side, 1).expand(-1, -1, -1, summed.shape[3])
                    slopes[:, feature] += summed.gather(2, index).sum(1)
        # Of the words that stand there.
        now = (slopes * reader.vectors(spans.flatten()).reshape(slopes.shape)).sum(3, keepdim=True)
        gains: Tensor = slopes @ vectors.T - now
        return gains

    @torch.no_grad()
    def _best(
        self, candidates: Tensor, shown: Shown, variants: list[Variant], kept: int
    ) -> tuple[Tensor, Tensor]:
        """So many of candidates (m, C, F, side), the best first, and their averages."""
        count, each = candidates.shape[:2]
        classes, references, places = (one.repeat_interleave(each, 0) for one in shown[1:])
        outcome = self.maker.stage.outcome(candidates.flatten(0, 1), classes, references, places, variants)
        _, averages = self._loss(outcome)
        figures = self.objective.figures(averages, self.plan.scenario)
        # What the gradient of the loss descends: each requirement weighs as much as it is far off.
        far = ratios(figures, self.plan.scenario).sum(1).nan_to_num(torch.inf).reshape(count, each)
        best, row = far.topk(kept, 1, largest=False).indices, torch.arange(count, device=far.device)[:, None]
        return candidates[row, best], averages.reshape(count, each, -1)[row, best]

    def _loss(self, outcome: Outcome) -> tuple[Tensor, Tensor]:
        """The loss and the averages of what is shown, and of nothing before it."""
        return self.objective.loss(outcome, self.plan.scenario, None, torch.full((1,), LATE).to(outcome.own))

    def _steady(self, looking: Tensor, rows: Tensor, holding: Callable[..., Tensor]) -> Tensor:
        """Those that hold in every draw of nearly all groups of draws.

        A word that is drawn moves outputs a lot or not at all, so that a margin on what usual draws do says
        little, and the share of those that break a bound is what counts.
        """
        held = torch.zeros(len(rows), dtype=torch.int64)
        for number in range(GROUPS):
            kept = holding(looking, self._seeds(f"group {number}", rows), GROUP)
            held[kept] += 1
            # Whatever the groups to come would say.
            looking = looking[held[looking] + BROKEN > number]
        return looking

    @property
    def _words(self) -> Words:
        return cast(Words, self.prior)

    @property
    def _reader(self) -> Reader:
        return cast(Reader, self.maker.stage.model)

    @property
    def _spans(self) -> Spans:
        return cast(Spans, self.maker.geometry)
