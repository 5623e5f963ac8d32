import numpy as np
import pytest
import torch

from xattr_check.core.registry import methods
from xattr_check.storage.digest import digest
from xattr_fixtures import _digits_data as data
from xattr_fixtures import _digits_sources as sources


@pytest.fixture(scope="module")
def battery():
    return data.battery_composites()


def test_every_digit_class_is_on_every_scene_four_times(battery):
    pairs = np.bincount(battery.digits * len(sources.SCENES) + battery.scenes, minlength=100)
    assert (pairs == 4).all()


def test_every_held_out_digit_is_used_once(monkeypatch):
    used = []
    compose = data.compose
    monkeypatch.setattr(data, "compose", lambda rows, *a, **k: used.append(rows) or compose(rows, *a, **k))
    data.battery_composites()
    assert sorted(used[0] % 400) == list(range(400))


def test_held_out_digits_are_not_trained_on():
    from sklearn.datasets import load_digits

    bundle = load_digits()
    trained, held_out = sources.split_digits()
    assert (len(trained), len(held_out)) == (1397, 400)
    assert not set(trained) & set(held_out)
    assert (np.bincount(bundle.target[held_out]) == 40).all()
    # Nor is there a copy of one among the others.
    scans = [{scan.tobytes() for scan in bundle.data[rows]} for rows in (trained, held_out)]
    assert not scans[0] & scans[1]


def test_held_out_crops_share_no_pixel_with_trained_ones(monkeypatch):
    photograph = sources.photograph

    def marked(scene):
        """The photograph's axis in place of its content: 0 where trained on, 255 where held out."""
        shape, axis = photograph(scene).shape, sources.SCENES[scene][0]
        marks = np.where(np.arange(shape[axis]) < 0.6 * shape[axis] - 1, 0, 255)
        marks = marks[:, None, None] if axis == 0 else marks[None, :, None]
        return np.broadcast_to(marks, shape).astype(np.uint8)

    monkeypatch.setattr(sources, "photograph", marked)
    held_out = sources.scene_levels.__wrapped__(True)
    assert all((level == 255).all() for levels in held_out for level in levels)
    for scene, (axis, _) in sources.SCENES.items():
        length = photograph(scene).shape[axis]
        trained, judged = sources.parts(length)
        assert trained.stop == judged.start
        assert (trained.start, judged.stop) == (0, length)


def test_every_level_holds_a_crop():
    for held_out in (False, True):
        for levels in sources.scene_levels(held_out):
            assert all(min(level.shape[:2]) >= data.SIDE for level in levels)


def test_content_is_the_same_everywhere(battery):
    images, backgrounds = torch.from_numpy(battery.images), torch.from_numpy(battery.backgrounds)
    masks = torch.from_numpy(battery.masks)
    assert digest(images, backgrounds, masks) == "c893744307dd834c0273c1ff9357209e"


def test_the_background_is_the_image_without_the_digit(battery):
    touched = (battery.images != battery.backgrounds).any(axis=1, keepdims=True)
    assert touched[battery.masks].mean() > 0.99
    # Outside the mask only the soft edge differs, which a 3×3 neighbourhood of the mask holds nearly all of.
    grown = torch.nn.functional.max_pool2d(torch.from_numpy(battery.masks).float(), 3, 1, 1).bool().numpy()
    assert touched[~grown].mean() < 0.002


def test_every_digit_stands_out(battery):
    brightness = battery.images.mean(axis=1, keepdims=True) / 255
    for image, mask in zip(brightness, battery.masks, strict=True):
        ring = (
            torch.nn.functional.max_pool2d(torch.from_numpy(mask[None]).float(), 5, 1, 2)[0].bool().numpy()
            & ~mask
        )
        assert abs(image[mask].mean() - image[ring].mean()) > 0.15


def test_digits_are_a_third_to_a_half_of_the_frame_and_anywhere(battery):
    glyphs = sources.glyphs(True)
    assert 12 <= glyphs.height.mean() <= 14
    assert glyphs.height.max() <= 15
    assert glyphs.width.max() <= 15
    coverage = battery.masks.mean(axis=(0, 1))
    assert coverage[12:20, 12:20].mean() < 0.25
    for edge in (coverage[:4], coverage[-4:], coverage[:, :4], coverage[:, -4:]):
        assert edge.mean() > 0.01


def test_no_map_without_a_model_finds_the_digit(battery):
    """What keeps the controls honest: brightness, edges and a centre blob do not give the mask away."""
    from sklearn.metrics import roc_auc_score

    inputs, masks = data.normalize(battery.images), battery.masks.reshape(400, -1)

    def area(name):
        maps = methods()[name](None, inputs, None).sum(1).reshape(400, -1).numpy()
        return np.mean([roc_auc_score(mask, scores) for mask, scores in zip(masks, maps, strict=True)])

    assert area("input_magnitude") < 0.6
    assert area("edges") < 0.82
    assert area("center") < 0.74


def test_only_the_tint_differs_between_colors(battery):
    aligned, permuted = data.battery_composites("aligned"), data.battery_composites("permuted")
    for other in (aligned, permuted):
        np.testing.assert_array_equal(other.backgrounds, battery.backgrounds)
        np.testing.assert_array_equal(other.masks, battery.masks)
        np.testing.assert_array_equal(other.digits, battery.digits)
    assert (aligned.images != permuted.images).any(axis=(1, 2, 3)).all()


def test_training_composites_depend_on_the_generator_alone():
    one, same, other = (data.training_composites(8, np.random.default_rng(seed)) for seed in (5, 5, 6))
    np.testing.assert_array_equal(one.images, same.images)
    assert (one.images != other.images).any()


def test_permuted_labels_keep_their_frequencies():
    composites, labels = data.shuffled_composites()
    assert len(composites) == 1000
    np.testing.assert_array_equal(np.bincount(labels), np.bincount(composites.digits))
    assert 0.05 < (labels == composites.digits).mean() < 0.15
    assert (np.bincount(composites.digits * 10 + composites.scenes) == 10).all()


def test_normalized_range():
    images = np.array([0, 255], np.uint8).reshape(2, 1, 1, 1)
    assert data.normalize(images).flatten().tolist() == [-2.0, 2.0]
