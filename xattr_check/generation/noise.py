"""How wide the noise is that features are drawn on: not so wide that to cover a part of it does something."""

from dataclasses import replace

import torch

from xattr_check.generation.generator import Maker

# Noise that is drawn anew where a patch would be may move outputs by QUIET of what they vary by over inputs:
# effects of features are some three times that, and forbidden changes may be 7 % of them.
QUIET = 0.1
# Draws over which that is taken, by the name of the prior: a word does a lot or nothing, and few draws of
# words are luck.
DRAWS, MANY = 24, {"words": 512}
# Inputs over which the outputs' spread is taken.
INPUTS = 64
# Halved so often at the most.
HALVINGS = 3


@torch.no_grad()
def calmed(maker: Maker) -> Maker:
    """The maker, with noise that is half as wide, a quarter or an eighth, if the model answers to the noise.

    Only where the reference is noise that is not the subject's own.
    """
    plan = maker.plan
    if plan.reference != "noise":
        return maker
    spread = float(maker.stage.outputs_of(maker.inputs[:INPUTS]).std(0, correction=0).mean())
    if not 0 < spread < torch.inf:
        return maker
    for _ in range(HALVINGS):
        if unrest(maker) <= QUIET * spread:
            break
        plan = replace(plan, noise=plan.noise / 2)
        maker = Maker(maker.subject, plan, maker.run)
    return maker


@torch.no_grad()
def unrest(maker: Maker) -> float:
    """The standard deviation of what noise does to outputs in place of other noise, the mean over outputs."""
    generator = torch.Generator().manual_seed(0)
    count = MANY.get(maker.plan.prior, DRAWS)
    geometry, references = maker.geometry, maker.references(count, generator)
    others = maker.references(count, generator)
    places = maker.plan.place(count, geometry, generator)[:, 0].to(maker.device)
    # One piece of noise is as good as another, where it may be moved.
    first = torch.tensor(geometry.starts).to(places)
    where = first.expand_as(places) if geometry.movable else places
    patches = geometry.cut(others, where, maker.plan.side)
    with_patches = geometry.paste(references, patches, places)
    changes = maker.stage.outputs_of(with_patches) - maker.stage.outputs_of(references)
    return float(changes.square().mean(0).sqrt().mean())
