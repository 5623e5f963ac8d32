"""How concepts come about: the same layer of a model with one set of weights after the other."""

import copy
from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from xattr_check.concepts.dissection import Dissection, network_dissection
from xattr_check.errors import ConceptError


def concept_evolution(
    model: nn.Module,
    checkpoints: Mapping[str, Mapping[str, Tensor]],
    images: Tensor,
    concept_masks: Mapping[str, Tensor],
    **options: Any,
) -> dict[str, Dissection]:
    """The dissection of a model with the weights of each checkpoint, by the checkpoint's name.

    model: in eval mode; a copy of it takes the weights. checkpoints: as `model.state_dict()` gives them.
    options: as of `network_dissection`. Raises ConceptError, a ValueError, for weights that do not fit.
    """
    other = copy.deepcopy(model)
    found = {}
    for name, weights in checkpoints.items():
        try:
            other.load_state_dict(dict(weights))
        except (RuntimeError, TypeError) as error:
            told = " ".join(str(error).split())
            raise ConceptError(
                "its weights do not fit the model", option="checkpoint", value=name, hint=told
            ) from None
        found[name] = network_dissection(other, images, concept_masks, **options)
    return found
