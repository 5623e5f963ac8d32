"""A network that names the target whichever regions of an input it is shown: one for all methods."""

from dataclasses import replace
from typing import cast

import torch
from torch import Tensor, nn

from xattr_check.core.returned import read_like
from xattr_check.core.run import Run
from xattr_check.core.units import Units
from xattr_check.networks.retrain import Networks, Retrainable
from xattr_check.storage.digest import derive_seed, digest

# How often a pool is gone through for each time that the recipe says: what is left of an input under one mask
# tells less of it than the whole.
TIMES = 8


def evaluator(subject: Retrainable, units: Units, fill: Tensor, run: Run) -> nn.Module:
    """q(y | x, R) of [jethani2021]: a network of the recipe, trained on its pool under random masks.

    Each input of a batch is shown with a random subset R of its units, drawn anew each time and without a
    look at the input, so that what R is can tell nothing of the target; fill (*F) stands for the others. The
    share of the units in R is uniform in 0…1, so that inputs are as likely to be nearly whole as nearly gone.
    By the likelihood of the targets, q comes to their distribution given what is shown.

    It is trained once for a seed and kept in the store.
    """
    key = {
        "subject": subject.fingerprint, "units": digest(units.index), "fill": digest(fill), "times": TIMES,
        "seed": run.seed, "device": run.device.type,
    }  # fmt: skip

    def compute() -> dict[str, Tensor]:
        run.progress("training a network on randomly masked inputs")
        return trained(subject, units, fill, run.seed)

    def load() -> nn.Module:
        weights = run.store.fetch("evaluator", key, compute)
        network = read_like(subject.training.untrained(0), subject.model).to(run.device).eval()
        own = {**dict(network.named_parameters()), **dict(network.named_buffers())}
        with torch.no_grad():
            for name, value in weights.items():
                own[name].copy_(value)
        return network.requires_grad_(False)

    return cast(nn.Module, run.once(f"evaluator, {digest(key)}", load))


def trained(subject: Retrainable, units: Units, fill: Tensor, seed: int) -> dict[str, Tensor]:
    """The parameters and buffers of an evaluator, by name."""
    pool, generator = subject.pool, torch.Generator().manual_seed(derive_seed("masks", seed))
    recipe = replace(subject.training, epochs=TIMES * subject.training.epochs)
    networks = Networks(recipe, [derive_seed("evaluator", seed)], pool.inputs.device, subject)

    def masked(rows: Tensor) -> Tensor:
        shares = torch.rand(len(rows), 1, generator=generator)
        shown = (torch.rand(len(rows), units.count, generator=generator) < shares).to(rows.device)
        keep = units.layout.expand_any(units.spread(shown))
        return torch.where(keep, pool.inputs[rows], fill)[None]

    networks.train(masked, pool.targets, derive_seed("order", seed))
    return {name: stacked[0] for name, stacked in {**networks.parameters, **networks.buffers}.items()}
