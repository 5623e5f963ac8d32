import numpy as np
import pytest
import torch

from xattr_check.core import registry
from xattr_fixtures import _regression_data as data
from xattr_fixtures import _regression_training as training
from xattr_fixtures._training import explained_variance, outputs_of


@pytest.fixture(scope="module")
def subject():
    return registry.subjects()["regression"]()


@pytest.fixture(scope="module")
def scans():
    return data.battery_scans()


def test_values_are_explained(subject, scans):
    assert subject.output.name == "value"
    assert explained_variance(subject.model, subject.inputs, subject.truth["total"]) >= 0.98
    assert explained_variance(subject.siblings["retrained"], subject.inputs, subject.truth["total"]) >= 0.98
    assert scans.totals.min() >= 1
    assert len(set(scans.totals)) == 18


def test_permuted_values_are_memorized_and_useless(subject):
    network = subject.siblings["shuffled_labels"]
    assert explained_variance(network, *training.memorized()) >= 0.9
    assert explained_variance(network, subject.inputs, subject.truth["total"]) < 0


def test_the_value_is_the_number_of_lesions_by_their_pixels(subject, scans):
    pixels = subject.truth["mask"].sum((1, 2, 3))
    assert torch.equal(pixels, 9 * subject.truth["total"].long())
    # A zone of 96 pixels counts its severity 96 times.
    assert torch.equal(subject.truth["severity"].sum((1, 2, 3)), 96 * subject.truth["total"])
    inside = subject.truth["mask"] & (subject.truth["severity"] == 0)
    assert not inside.any()


def test_without_the_lesions_there_is_no_severity(subject, scans):
    found = outputs_of(subject.model, data.normalize(scans.backgrounds))[:, 0]
    assert found.abs().max() < 1.5
    assert found.mean().abs() < 0.5
    assert (scans.images == scans.backgrounds)[~scans.masks].all()


def test_with_other_things_behind_the_lesions_the_value_stays(subject, scans):
    """Other light, other noise, and other distractors where no lesion is."""
    other = np.roll(scans.backgrounds, 1, axis=0)
    moved = data.normalize(np.where(scans.masks, scans.images, other))
    assert explained_variance(subject.model, moved, subject.truth["total"]) >= 0.8


def test_absence_has_no_severity(subject):
    first, again = (subject.reference(64, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(first, again)
    assert outputs_of(subject.model, first).abs().max() < 1.5


def test_no_map_without_a_model_finds_the_lesions(subject):
    from sklearn.metrics import roc_auc_score

    from xattr_check.core.registry import methods

    mask = subject.truth["mask"].flatten().numpy()
    for name in ("edges", "input_magnitude", "center"):
        maps = methods()[name](subject.model, subject.inputs, subject.targets).flatten().numpy()
        assert roc_auc_score(mask, maps) < 0.75, name
