import numpy as np
import pytest
import torch
from torch import nn

from xattr_check.core import registry
from xattr_fixtures import _digits_data as data
from xattr_fixtures import _digits_sources as sources
from xattr_fixtures import _digits_training as training
from xattr_fixtures._training import accuracy
from xattr_fixtures._weights import WEIGHTS


@pytest.fixture(scope="module")
def subject():
    return registry.subjects()["digits"]()


@pytest.fixture(scope="module")
def networks(subject):
    return {"object": subject.model, **subject.siblings}


def target_probability(subject, inputs):
    with torch.inference_mode():
        probabilities = subject.model(inputs).softmax(1)
    return float(probabilities.gather(1, subject.targets[:, None]).mean())


def test_shapes(subject):
    assert subject.inputs.shape == (400, 3, 32, 32)
    assert subject.truth["mask"].shape == (400, 1, 32, 32)
    assert subject.truth["mask"].dtype == torch.bool
    assert subject.truth["background"].shape == subject.inputs.shape
    assert subject.truth["scene"].dtype == torch.int64
    assert set(subject.siblings) == {
        "scene", "shuffled_labels", "spurious", "retrained", "narrow", "shallow", "deep", "robust",
    }  # fmt: skip


def test_black_is_the_darkest_pixel(subject):
    assert float(subject.black) == float(subject.inputs.min()) == -2


def test_regions_are_an_8x8_grid_of_4x4_cells(subject):
    assert subject.regions.shape == (32, 32)
    assert (torch.bincount(subject.regions.flatten()) == 16).all()
    assert subject.regions[0, :5].tolist() == [0, 0, 0, 0, 1]
    assert subject.regions[4, 0] == 8
    assert subject.regions.max() == 63


def test_every_pixel_is_of_one_scene_or_of_one_digit_and_one_tint(subject):
    kinds = {}
    for name, where in subject.concepts.items():
        kinds.setdefault(name.partition("/")[0], []).append(where)
    assert {kind: len(masks) for kind, masks in kinds.items()} == {"digit": 10, "scene": 10, "tint": 6}
    mask = subject.truth["mask"].int()
    times = {kind: torch.stack(masks).sum(0) for kind, masks in kinds.items()}
    assert torch.equal(times["digit"], mask)
    assert torch.equal(times["tint"], mask)
    assert torch.equal(times["scene"], 1 - mask)
    assert subject.concepts["digit/3"][subject.targets == 3].flatten(1).any(1).all()
    moon = list(sources.SCENES).index("moon")
    assert subject.concepts["scene/moon"][subject.truth["scene"] == moon].flatten(1).any(1).all()


def test_a_tint_is_the_hue_that_is_seen(subject):
    """By the channels of its own pixels, and not by what was drawn."""
    pixels = subject.inputs * 0.25 + 0.5
    angles = 2 * torch.pi * torch.arange(3) / 3
    for number, name in enumerate(("red", "yellow", "green", "cyan", "blue", "magenta")):
        where = subject.concepts[f"tint/{name}"]
        rows = where.flatten(1).any(1)
        means = (pixels * where)[rows].sum((2, 3)) / where[rows].sum((2, 3))
        hue = torch.atan2((means * angles.sin()).sum(1), (means * angles.cos()).sum(1)) / (2 * torch.pi)
        gap = (hue - number / 6 + 0.5) % 1 - 0.5
        assert (gap.abs() < 1 / 6).double().mean() > 0.95


def test_without_its_tint_a_digit_is_there_but_its_colour(subject):
    """Luminance stays, and what is behind the digit does so to the last bit."""
    plain, weights = subject.truth["without_spurious"], torch.tensor([0.2126, 0.7152, 0.0722])
    changed = (plain != subject.inputs).any(1)
    mask = subject.truth["mask"][:, 0]
    assert (changed | ~mask).double().mean() > 0.999
    assert changed.double().mean() < 2.5 * mask.double().mean()
    inside = plain.abs().amax(1) < 2  # no channel was cut
    luminance = [torch.einsum("c,nchw->nhw", weights, one)[inside] for one in (plain, subject.inputs)]
    torch.testing.assert_close(*luminance, atol=1e-5, rtol=0)


def test_two_loads_agree(subject):
    assert registry.subjects()["digits"]().fingerprint == subject.fingerprint


def test_object_accuracy(networks):
    assert training.on_battery(networks["object"]) >= 0.98


def test_the_retrained_network_names_digits_as_well(networks):
    assert training.on_battery(networks["retrained"]) >= 0.98


def test_scene_accuracy(networks):
    assert training.on_battery(networks["scene"], "scenes") >= 0.95


def test_shuffled_labels_are_memorized_and_useless(networks):
    assert accuracy(networks["shuffled_labels"], *training.memorized()) >= 0.95
    assert training.on_battery(networks["shuffled_labels"]) < 0.2


@pytest.mark.parametrize(
    ("name", "least"), [("narrow", 0.96), ("shallow", 0.9), ("deep", 0.96), ("robust", 0.95)]
)
def test_narrow_networks_name_digits(name, least, networks):
    assert training.on_battery(networks[name]) >= least


def test_the_robust_network_stands_an_attack(networks):
    """Which another of its architecture does not, nor one that is larger."""
    attacked = {name: training.under_attack(networks[name], steps=4) for name in ("robust", "narrow")}
    assert attacked["robust"] >= 0.65
    assert attacked["narrow"] <= 0.5


def test_spurious_network_follows_the_tint(networks):
    aligned, permuted = (
        training.on_battery(networks["spurious"], colors=colors) for colors in ("aligned", "permuted")
    )
    assert aligned >= 0.98
    assert permuted < aligned - 0.5


def test_object_network_ignores_the_tint(networks):
    assert training.on_battery(networks["object"], colors="aligned") >= 0.98
    assert training.on_battery(networks["object"], colors="permuted") >= 0.98


@pytest.mark.parametrize("name", training.NETWORKS)
def test_networks_stay_small(name, networks):
    assert sum(parameter.numel() for parameter in networks[name].parameters()) <= 150_000
    assert (WEIGHTS / f"digits_{name}.safetensors").stat().st_size <= 1_000_000


def test_network_structure(subject):
    children = [name for name, _ in subject.model.named_children()]
    assert [name for name in children if name not in ("pool", "flatten")] == [
        "stem", "stage1", "stage2", "stage3", "classifier",
    ]  # fmt: skip
    calls = []
    for module in subject.model.modules():
        if isinstance(module, nn.ReLU):
            assert not module.inplace
            module.register_forward_hook(lambda module, *_: calls.append(module))
    shapes = []
    subject.model.stage3.register_forward_hook(lambda module, inputs, output: shapes.append(output.shape[1:]))
    with torch.inference_mode():
        subject.model(subject.inputs[:1])
    assert len(calls) == len(set(calls)) == 7
    assert shapes == [(64, 8, 8)]


def test_without_the_object_the_class_is_gone(subject):
    assert subject.causal
    assert target_probability(subject, subject.inputs) > 0.97
    assert target_probability(subject, subject.truth["background"]) < 0.12
    masked = torch.where(subject.truth["mask"], subject.truth["background"], subject.inputs)
    assert target_probability(subject, masked) < 0.2


def test_another_scene_leaves_the_class(subject, monkeypatch):
    compose = data.compose
    monkeypatch.setattr(
        data, "compose", lambda rows, scenes, *a, **k: compose(rows, (scenes + 3) % 10, *a, **k)
    )
    moved = data.battery_composites()
    np.testing.assert_array_equal(moved.masks, subject.truth["mask"].numpy())
    assert (moved.scenes != subject.truth["scene"].numpy()).all()
    with torch.inference_mode():
        same = subject.model(data.normalize(moved.images)).argmax(1) == subject.model(subject.inputs).argmax(
            1
        )
    assert same.float().mean() >= 0.98


def test_another_digit_leaves_the_scene(subject):
    with torch.inference_mode():
        scenes = subject.siblings["scene"](subject.truth["background"]).argmax(1)
    assert (scenes == subject.truth["scene"]).float().mean() >= 0.9


def test_the_reference_tells_no_class_and_is_drawn_from_its_generator(subject):
    first, again = (subject.reference(64, torch.Generator().manual_seed(0)) for _ in range(2))
    assert torch.equal(first, again)
    assert first.shape == (64, 3, 32, 32)
    assert first.abs().max() <= 2
    assert float(first.std()) == pytest.approx(0.4, abs=0.01)
    with torch.inference_mode():
        # Noise may look like one digit or another, but not with the confidence of a digit.
        assert subject.model(first).softmax(1).amax(1).mean() < 0.6
