"""Operators that ask a right method the wrong thing, or answer with a map of something else."""

import torch
from torch import Tensor

from xattr_check.errors import Undefined
from xattr_check.mutation.operator import Call, operator
from xattr_check.networks.layers import layers
from xattr_check.networks.randomize import every_layer, randomized
from xattr_check.storage.digest import derive_seed

# Inputs on which the statistics of an untrained network are estimated.
ESTIMATE = 64
# Of the layers of a network: how far from the input is early.
EARLY = 1 / 3


@operator(
    defect="the explained output is the predicted one, or labels are in another order",
    amount="the probability that it is another target",
    usual=0.5,
    mixes=True,
)
def wrong_target(call: Call, amount: float) -> Tensor:
    """The map for another target, for each input with a probability."""
    outputs = call.subject.examination.outputs
    if outputs < 2:
        raise Undefined(f"the model of {call.subject.name!r} has one output, and so there is one target")
    chance = call.drawn("whether", 2**30) < amount * 2**30
    other = (call.targets + 1 + call.drawn("which", outputs - 1)) % outputs
    return call.explain(targets=torch.where(chance, other, call.targets))


@operator(
    defect="an image is read as blue, green, red where the model wants red, green, blue", needs=("image",)
)
def reversed_channels(call: Call, amount: float) -> Tensor:
    """The map of the input with its channels in reverse."""
    axis = call.layout.channels
    if axis is None or call.inputs.shape[axis] < 2:
        raise Undefined("the inputs have one channel")
    return call.explain(inputs=call.inputs.flip(axis))


@operator(defect="weights are not loaded, or are loaded into another object than the one that is explained")
def untrained(call: Call, amount: float) -> Tensor:
    """The map of the model with new weights."""
    known = call.subject.inputs[:ESTIMATE] if call.layout == call.subject.layout else call.inputs
    fresh = randomized(call.model, every_layer(call.model, known[:2]), known, derive_seed("untrained"))
    return call.explain(model=fresh)


@operator(defect="a hook or a cache holds the activations of the call before")
def previous(call: Call, amount: float) -> Tensor:
    """The map of the previous call, where that was on a batch of the same size."""
    before, call.memory["maps"] = call.memory.get("maps"), call.maps.detach().clone()
    same = before is not None and before.shape == call.maps.shape and before.dtype == call.maps.dtype
    return before.to(call.maps.device) if before is not None and same else call.maps


@operator(defect="the rows of a batch are mixed up, as by a reshape of repeated inputs")
def batch_mate(call: Call, amount: float) -> Tensor:
    """The map of the row before in the batch."""
    return call.maps.roll(1, 0)


@operator(defect="a layer is found by its place, and it is another one than it was meant to be")
def earlier_layer(call: Call, amount: float) -> Tensor:
    """The map of a layer at a third of the network's depth."""
    if "layer" not in call.parameters_of_method:
        raise Undefined(f"{call.method.name} has no parameter layer")
    names = [layer.name for layer in layers(call.model, call.inputs[:1])]
    return call.explain(layer=names[int(EARLY * len(names))])
