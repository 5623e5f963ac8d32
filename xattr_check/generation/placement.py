"""Whether it matters to a model where in the image a feature is."""

from dataclasses import replace

import torch
from torch import Tensor

from xattr_check.generation.generator import Maker
from xattr_check.generation.patches import paste

# Pieces of the subject's inputs that are shown, and references and places on which each of them is.
PIECES = DRAWS = 12
# Pieces at one place have to explain AT_ONE_PLACE of the variance of effects before it says something that
# they explain less than KEPT of that where they go anywhere. Measured: .2 to .3 in networks that flatten
# their last map, .6 to .96 in others.
AT_ONE_PLACE, KEPT = 0.5, 0.5


@torch.no_grad()
def share_of_pieces(maker: Maker, *, anywhere: bool) -> float:
    """The share of the variance of a piece's effects, over all outputs, that lies between pieces: 0…1.

    The rest is due to the reference, and to the places, if pieces go anywhere.
    """
    subject, side = maker.subject, maker.plan.side
    generator = torch.Generator().manual_seed(0)
    chosen = torch.randint(len(subject.inputs), (PIECES,), generator=generator).to(maker.device)
    top, left = ((length - side) // 2 for length in maker.size)
    pieces = subject.inputs[chosen, :, top : top + side, left : left + side]
    references = maker.references(DRAWS, generator)
    places = maker.plan.place(DRAWS, maker.size, generator)[:, 0].to(maker.device)
    places = places if anywhere else places[:1].expand(DRAWS, -1)
    shown = paste(
        references.repeat(PIECES, 1, 1, 1), pieces.repeat_interleave(DRAWS, 0), places.repeat(PIECES, 1)
    )
    effects = _logits(maker, shown).unflatten(0, (PIECES, DRAWS)) - _logits(maker, references)
    whole = effects.flatten(0, 1).var(0, correction=0).sum()
    within = effects.var(1, correction=0).mean(0).sum()
    return float(1 - within / whole) if whole > 0 else 1.0


def _logits(maker: Maker, images: Tensor) -> Tensor:
    at_once = max(1, maker.run.memory // maker.stage.probe.bytes)
    return torch.cat([maker.stage.model(part.clone()) for part in images.split(at_once)])


def choose_placement(maker: Maker) -> Maker:
    """The generator, with places that are fixed if the model answers to where a feature is.

    No feature does the same everywhere in a network that flattens its last map: a piece of an input explains
    little of its effect there if it goes anywhere, and most of it at one place.
    """
    at_one_place = share_of_pieces(maker, anywhere=False)
    fixed = at_one_place > AT_ONE_PLACE and share_of_pieces(maker, anywhere=True) < KEPT * at_one_place
    return Maker(maker.subject, replace(maker.plan, fixed=fixed), maker.run)
