import pytest
import torch

from xattr_check.core import registry
from xattr_fixtures import _beats_data as data
from xattr_fixtures import _beats_training as training
from xattr_fixtures._training import accuracy, outputs_of


@pytest.fixture(scope="module", params=[1, 4])
def channels(request):
    return request.param


@pytest.fixture(scope="module")
def subject(channels):
    return registry.subjects()[{1: "beats", 4: "beats4"}[channels]]()


@pytest.fixture(scope="module")
def made(channels):
    return data.battery_beats(channels)


def probability(subject, inputs):
    found = outputs_of(subject.model, inputs).softmax(1)
    return float(found.gather(1, subject.targets[:, None]).mean())


def test_shapes(subject, channels):
    assert subject.layout.name == "signal"
    assert subject.inputs.shape == (300, channels, 96)
    assert subject.truth["mask"].shape == (300, 1, 96)
    assert (subject.truth["mask"].sum((1, 2)) == data.WAVE).all()
    assert subject.targets.bincount().tolist() == pytest.approx([100] * 3, abs=20)


def test_accuracy(subject, channels):
    for model in (subject.model, subject.siblings["retrained"]):
        assert accuracy(model, subject.inputs, subject.targets) >= 0.95
    assert accuracy(subject.siblings["shuffled_labels"], *training.memorized(channels)) >= 0.95
    assert accuracy(subject.siblings["shuffled_labels"], subject.inputs, subject.targets) < 0.45


def test_the_wave_is_in_one_channel_and_within_the_mask(made):
    differs = made.signals != made.backgrounds
    assert not (differs & ~made.masks).any()
    assert (differs.any(2).sum(1) == 1).all()
    assert (differs.any(2).argmax(1) == made.leads).all()


def test_the_wave_is_anywhere(subject):
    when = subject.truth["mask"].float().mean((0, 1))
    assert when[8:76].min() > 0.04
    assert when.max() < 0.3


def test_no_map_without_a_model_finds_the_wave(subject):
    mask = subject.truth["mask"][:, 0]
    for name in ("edges", "input_magnitude", "center", "local_energy"):
        control = registry.controls()[name].bind(subject)
        maps = control(subject.model, subject.inputs, subject.targets).sum(1)
        highest = maps.argmax(1, keepdim=True)
        assert mask.gather(1, highest).float().mean() < 0.5, name


def test_without_the_wave_there_is_none(subject, made):
    assert subject.causal
    assert probability(subject, data.as_inputs(made.backgrounds)) < 0.05
    found = outputs_of(subject.model, data.as_inputs(made.backgrounds)).argmax(1)
    assert (found == data.NONE).float().mean() > 0.95


def test_over_other_beats_the_wave_is_named_the_same(subject, made):
    other = torch.where(subject.truth["mask"], subject.inputs, data.as_inputs(made.backgrounds).roll(1, 0))
    assert probability(subject, other) > 0.85


def test_absence_tells_no_class(subject):
    first, again = (subject.reference(300, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(first, again)
    assert probability(subject, first) < 0.1
