"""The concepts of a network over its training."""

import copy
import math

import pytest
import torch
from subjects import TinyNetwork, images
from torch.nn import functional

from xattr_check import ConceptError, concept_evolution, load_subject, network_dissection


def test_each_checkpoint_is_dissected_and_the_model_is_left_alone() -> None:
    subject = images()
    model, inputs = subject.model, subject.inputs
    masks = {"bright": inputs.mean(1) > 0.5}
    before = copy.deepcopy(model.state_dict())
    other = TinyNetwork().eval()
    found = concept_evolution(model, {"own": before, "new": other.state_dict()}, inputs, masks, layer="relu2")
    assert list(found) == ["own", "new"]
    for name, network in (("own", model), ("new", other)):
        alone = network_dissection(network, inputs, masks, layer="relu2")
        torch.testing.assert_close(found[name].ious, alone.ious)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_weights_that_do_not_fit_are_told() -> None:
    subject = images()
    with pytest.raises(
        ConceptError, match=r"^checkpoint 'half': its weights do not fit the model; Error\(s\)"
    ):
        concept_evolution(subject.model, {"half": {}}, subject.inputs, {})


@pytest.mark.slow
def test_detectors_grow_over_training() -> None:
    subject = load_subject("digits")
    recipe = subject.recipe
    assert recipe is not None
    model, pool = recipe.untrained(0), recipe.pool()
    states = {"0": copy.deepcopy(model.state_dict())}
    batches = math.ceil(len(pool["inputs"]) / recipe.batch)
    descent = recipe.optimize([*model.parameters()], recipe.epochs * batches)
    generator = torch.Generator().manual_seed(0)
    for epoch in range(1, recipe.epochs + 1):
        for some in torch.randperm(len(pool["inputs"]), generator=generator).split(recipe.batch):
            descent.step(functional.cross_entropy(model(pool["inputs"][some]), pool["targets"][some]))
        states[str(epoch)] = copy.deepcopy(model.state_dict())
    found = concept_evolution(
        model.eval(), states, subject.inputs, subject.concepts, layer="features.6", call=0
    )
    counts = [len(one.detectors) for one in found.values()]
    assert counts[0] == 0
    assert sum(counts[-3:]) > 1.5 * sum(counts[1:4])
