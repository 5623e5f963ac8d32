"""Objectives: what a generated feature is optimised for, and how its terms are balanced."""

from collections.abc import Iterable
from typing import Protocol

import torch
from torch import Tensor, nn

from xattr_check.generation.certify import Outcome, Variant, free_variants
from xattr_check.generation.scenarios import Scenario


class Objective(Protocol):
    """The loss of each sample on its own; averages over steps are handed through by the caller."""

    def variants(self, scenario: Scenario) -> list[Variant]:
        """Which coalitions a step shows, and into which of their features gradients go."""
        ...

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """What takes the steps."""
        ...

    def rate(self, progress: float) -> float:
        """The learning rate, as a share of the optimizer's own, after a share of the steps."""
        ...

    def loss(
        self, outcome: Outcome, scenario: Scenario, averages: Tensor | None, step: int
    ) -> tuple[Tensor, Tensor]:
        """(n,) loss and (n, T) averages, of which those of the step before are given; None at the first."""
        ...


def _average(before: Tensor | None, now: Tensor, share: float) -> Tensor:
    return now if before is None else before.lerp(now, share)


class Constrained:
    """Every requirement as a ratio to its bound; the gradient goes to each in proportion to that ratio.

    The requirements are the cross-entropy of each feature alone, and the root mean square of each forbidden
    change in units of the contributing effect, which therefore grows. Both are taken as logarithms over
    running averages, so that neither their scale nor one lucky draw matters, and nothing has to be weighted
    by hand. The learning rate falls from the start, and patches are averaged over steps by the caller.
    """

    rate_at_start = 3e-3
    warm_up = 30
    # Inside the certificate's 0.07 and 0.06 (for a softmax of 0.94), since it asks for more than a mean.
    change_bound, own_bound = 0.04, 0.02
    share = 0.1

    def variants(self, scenario: Scenario) -> list[Variant]:
        """All coalitions, gradients into all features: the true gradient of every requirement."""
        return free_variants(scenario)

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """Adam."""
        return torch.optim.Adam(parameters, lr=self.rate_at_start, betas=(0.9, 0.99))

    def rate(self, progress: float) -> float:
        """Falling to a twentieth."""
        return 1.0 - 0.95 * progress

    def loss(
        self, outcome: Outcome, scenario: Scenario, averages: Tensor | None, step: int
    ) -> tuple[Tensor, Tensor]:
        """The ratios, weighted by themselves; the bare effects while warming up."""
        own = -outcome.own.mean(1)
        change = outcome.change.square().mean(1)
        effect = outcome.effect[..., list(scenario.contributing)].mean(1)
        now = torch.cat([own, change, effect], 1).detach()
        averages = _average(averages, now, self.share)
        if step < self.warm_up:
            return own.sum(1) - effect.sum(1) / 10, averages
        usual_own, usual_change, usual_effect = averages.split(
            [own.shape[1], change.shape[1], effect.shape[1]], 1
        )
        usual_effect, smallest = usual_effect.clamp_min(1.0).min(1, keepdim=True)
        usual_own, usual_change = usual_own.clamp_min(1e-4), usual_change.clamp_min(1e-6)
        growth = effect.gather(1, smallest) / usual_effect
        ratios = torch.cat(
            [usual_own / self.own_bound, usual_change.sqrt() / usual_effect / self.change_bound], 1
        )
        terms = torch.cat([own / usual_own, 0.5 * change / usual_change - growth], 1)
        return (ratios / ratios.sum(1, keepdim=True) * terms).sum(1), averages


class Dynamic:
    """Dynamic task prioritisation, Eq. 12 and 13 of [khakzar2022], with the constants of the released code.

    A warm-up on −5 · logit, then −10 · FL(κ) · logit + 5 · Σ FL(1 − κ) · change² with the focal weight
    FL(p) = −(1 − p)^0.8 · log p and running averages κ. The output that is subtracted is held constant, and
    of a coalition only the feature that joins is changed. In `null`, feature a is held at softmax p = 0.95 by
    10 times its cross-entropy with that, which the paper prints; `experiments/released_procedure.py` holds it
    by 5 · (p − 0.95)², so that the two are not the same objective there.
    """

    rate_at_start = 5e-3
    share, start, focus, held = 0.1, 0.5, 0.8, 0.95

    def variants(self, scenario: Scenario) -> list[Variant]:
        """Each coalition with gradients into the feature that joins it."""
        alone = {(1 << feature, 1 << feature) for feature in range(scenario.features)}
        joined = {(change.larger, 1 << change.feature) for change in scenario.changes}
        held = {(change.smaller, 0) for change in scenario.changes if change.smaller.bit_count() > 1}
        return sorted({(0, 0)} | alone | joined | held)

    def optimizer(self, parameters: Iterable[nn.Parameter]) -> torch.optim.Optimizer:
        """RMSprop."""
        return torch.optim.RMSprop(parameters, lr=self.rate_at_start)

    def rate(self, progress: float) -> float:
        """Constant."""
        return 1.0

    def loss(
        self, outcome: Outcome, scenario: Scenario, averages: Tensor | None, step: int
    ) -> tuple[Tensor, Tensor]:
        """The focally weighted terms."""
        smaller = outcome.smaller.detach()
        change = outcome.larger - smaller
        least = torch.minimum(outcome.larger.abs(), smaller.abs()).clamp_min(1e-12)
        keys = torch.cat([outcome.own.exp(), (change.abs() / least).tanh()], 2).mean(1).detach()
        averages = torch.full_like(keys, self.start) if averages is None else averages
        averages = averages.lerp(keys, self.share)
        logit = outcome.logit.mean(1)
        if step < (200 if scenario.saturating else 300):
            return -5 * logit.sum(1), averages
        own, changed = averages.split([logit.shape[1], change.shape[2]], 1)
        made = -10 * self._focal(own) * logit
        if scenario.name == "null":
            kept = outcome.own[..., 0]
            rest = torch.log1p(-kept.exp().clamp_max(1 - 1e-6))
            cross_entropy = -(self.held * kept + (1 - self.held) * rest).mean(1)
            made = torch.cat([10 * cross_entropy[:, None], made[:, 1:]], 1)
        forbidden = 5 * self._focal(1 - changed) * change.square().mean(1)
        return made.sum(1) + forbidden.sum(1), averages

    def _focal(self, key: Tensor) -> Tensor:
        key = key.clamp(1e-6, 1.0)
        return -((1 - key) ** self.focus) * key.log()


OBJECTIVES: dict[str, Objective] = {"constrained": Constrained(), "dynamic": Dynamic()}
