"""A recipe: how networks are trained from scratch, for checks that retrain."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import torch
from torch import Tensor, nn

from xattr_check.storage.digest import digest, digest_model

Pool = Callable[[], Mapping[str, Tensor]]


@dataclass(frozen=True, eq=False)
class Recipe:
    """What networks are trained on, and how.

    network: () -> an untrained network that returns what the subject's model does, its weights from torch's
        global generator. What BatchNorm normalises by are the statistics of a batch while it is trained, and
        the running ones of the training when it is judged.
    pool: () -> `inputs` (M, *F) and `targets` (M,), like the subject's own and none of them; what else there
        is becomes truth of the pool, such as `mask` (M, 1, H, W) bool. Made when a check asks for it.
    epochs, batch: how often the pool is gone through, and in batches of how many.
    optimizer, rate, momentum, decay: of torch.optim; for AdamW the momentum is its first beta.
    one_cycle: whether the rate rises to `rate` over a fifth of the steps and then falls to nothing.
    shift: pixels by which a batch of images is rolled at random, either way along both sides; times, or
        voxels. Columns and tokens stay where they are.
    """

    network: Callable[[], nn.Module]
    pool: Pool
    epochs: int = 10
    batch: int = 64
    optimizer: Literal["adamw", "sgd"] = "adamw"
    rate: float = 5e-3
    momentum: float = 0.9
    decay: float = 0.0
    one_cycle: bool = True
    shift: int = 0

    def untrained(self, seed: int) -> nn.Module:
        """The network that a seed begins with."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.network()

    def optimize(self, parameters: list[Tensor], steps: int) -> "Descent":
        """What takes so many steps on parameters."""
        if self.optimizer == "sgd":
            made: torch.optim.Optimizer = torch.optim.SGD(
                parameters, self.rate, momentum=self.momentum, weight_decay=self.decay
            )
        else:
            betas = (self.momentum, 0.999)
            made = torch.optim.AdamW(parameters, self.rate, betas=betas, weight_decay=self.decay)
        if not self.one_cycle:
            return Descent(made, None)
        cycle = torch.optim.lr_scheduler.OneCycleLR(
            made, self.rate, max(2, steps), pct_start=0.2, cycle_momentum=False
        )
        return Descent(made, cycle)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of all but the pool."""
        how = [self.epochs, self.batch, self.optimizer, self.rate, self.momentum, self.decay]
        return digest(digest_model(self.untrained(0)), how, self.one_cycle, self.shift)


@dataclass(frozen=True)
class Descent:
    """An optimizer and the schedule of its rate."""

    optimizer: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler | None

    def step(self, loss: Tensor) -> None:
        """One step down a loss."""
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        if self.schedule is not None:
            self.schedule.step()
