"""Sheets of inputs and maps, read back pixel by pixel, and the files they are written to."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from xattr_check import Results
from xattr_check.core.verdict import Verdict
from xattr_check.report import drawing, pictures
from xattr_check.report.pictures import picture_of
from xattr_check.storage.digest import safe_name


def evidence(count: int = 3, channels: int = 3, side: int = 32) -> dict[str, Tensor]:
    """Two patches in known places; each map is one within its patch, minus one elsewhere."""
    masks = torch.zeros(2, count, 1, side, side, dtype=torch.bool)
    size, middle = side // 4, side // 2
    masks[0, :, :, 2 : 2 + size, 4 : 4 + size] = True
    masks[1, :, :, middle : middle + size, middle : middle + size] = True
    signs = masks[:, :, 0].double() * 2 - 1
    return {
        "composite": torch.randn(count, channels, side, side, generator=torch.Generator().manual_seed(0)),
        "mask_a": masks[0],
        "mask_b": masks[1],
        "map_a": signs[0],
        "map_b": signs[1],
        "target_a": torch.full((count,), 3),
        "target_b": torch.full((count,), 7),
    }


def verdict(shown: dict[str, Tensor], method: str = "mymod:explain", check: str = "null_feature") -> Verdict:
    sentence = f"{check}: 0.41 of the attribution falls on a feature that changes nothing (gate ≤ 0.25)"
    return Verdict(method, "digits", check, "generated", "fail", sentence, "≤ 0.25", evidence=shown)


def pixels(verdict: Verdict) -> np.ndarray:
    picture = picture_of(verdict)
    assert picture is not None
    return np.asarray(picture)


def count(found: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((found == colour).all(-1).sum())


# Colours.


def test_positive_is_red_negative_blue_and_zero_white() -> None:
    red, half, white, half_blue, blue, beyond = drawing.heat(
        np.array([[2.0, 1.0, 0.0, -1.0, -2.0, -9.0]]), 2.0
    )[0].astype(int)
    assert tuple(red) == drawing.RED
    assert tuple(blue) == tuple(beyond) == drawing.BLUE
    assert tuple(white) == (255, 255, 255)
    assert np.abs(2 * half - 255 - red).max() <= 1
    assert np.abs(2 * half_blue - 255 - blue).max() <= 1


def test_scale_is_the_99th_percentile_of_the_magnitude() -> None:
    values = np.linspace(-1, 0.5, 10_000).reshape(100, 100)
    assert drawing.scale(values) == (pytest.approx(np.percentile(np.abs(values), 99)), False)


def test_scale_of_a_map_with_few_pixels_is_its_maximum() -> None:
    values = np.zeros((32, 32))
    values[3, 4] = -2.0
    assert drawing.scale(values) == (2.0, True)
    assert tuple(drawing.heat(values, 2.0)[3, 4]) == drawing.BLUE


def test_zero_map_is_white() -> None:
    assert drawing.scale(np.zeros((4, 4))) == (0.0, False)
    assert (drawing.heat(np.zeros((4, 4)), 0.0) == 255).all()


def test_what_is_no_number_is_grey_and_leaves_the_scale_alone() -> None:
    values = np.array([[np.nan, 1.0], [-1.0, np.inf]])
    end, _ = drawing.scale(values)
    assert end == 1.0
    shown = drawing.heat(values, end)
    assert tuple(shown[0, 0]) == drawing.UNDEFINED
    assert tuple(shown[1, 1]) == drawing.RED
    assert tuple(pictures.display(np.full((3, 1, 1), np.nan))[0, 0]) == drawing.UNDEFINED


def test_inputs_are_stretched_to_their_own_range() -> None:
    image = np.array([[[-3.0]], [[0.0]], [[3.0]]])
    assert pictures.display(image)[0, 0].tolist() == [0, 128, 255]
    assert (pictures.display(np.ones((3, 2, 2))) == 0).all()


@pytest.mark.parametrize("channels", [1, 2, 4])
def test_other_channels_are_averaged(channels: int) -> None:
    image = np.random.default_rng(0).normal(size=(channels, 5, 5))
    mean = image.mean(0)
    expected = (255 * (mean - mean.min()) / np.ptp(mean)).round()
    assert (pictures.display(image) == expected[..., None]).all()


# Outlines.


def test_edge_is_the_rim_of_the_mask() -> None:
    mask = np.zeros((12, 12), dtype=bool)
    mask[2:9, 3:10] = True
    inner = np.zeros_like(mask)
    inner[4:7, 5:8] = True
    assert (pictures.edge(mask) == (mask & ~inner)).all()


def test_edge_is_closed_at_the_border() -> None:
    expected = np.ones((9, 9), dtype=bool)
    expected[2:7, 2:7] = False
    assert (pictures.edge(np.ones((9, 9), dtype=bool)) == expected).all()


@pytest.mark.parametrize(("side", "factor"), [(8, 20), (28, 6), (32, 5), (224, 1), (500, 1)])
def test_tiles_are_enlarged_by_whole_pixels(side: int, factor: int) -> None:
    assert pictures.magnify(np.zeros((side, side, 3), dtype=np.uint8)) == factor


@pytest.mark.parametrize(("channels", "side"), [(3, 32), (1, 28), (3, 224), (5, 48)])
def test_sheet_shows_outlines_where_the_masks_are(channels: int, side: int) -> None:
    shown = evidence(2, channels, side)
    found = pixels(verdict(shown))
    factor = max(1, round(160 / side))
    rim = pictures.edge(np.ones((side // 4 * factor, side // 4 * factor), dtype=bool)).sum()
    for colour in pictures.OUTLINES[:2]:
        letters = 2 * 14 * 14  # on the two inputs, partly over the outline
        assert 2 * 3 * rim - letters <= count(found, colour) <= 2 * 3 * rim + letters
    assert count(found, pictures.OUTLINES[2]) == 0
    # The first map stands below a caption: find the outline of its patch, and look inside and outside.
    rows, columns = np.nonzero((found == pictures.OUTLINES[0]).all(-1))
    tile = columns > columns.min() + side * factor
    left, top = columns[tile].min(), rows.min()
    assert tuple(found[top + 3 * factor, left + 3 * factor]) == drawing.RED
    assert tuple(found[top + 3 * factor, left - factor]) == drawing.BLUE
    assert tuple(found[top + (side // 2 + 2) * factor, left + (side // 2) * factor]) == drawing.BLUE


def test_sheet_without_masks_has_no_outlines() -> None:
    shown = {name: tensor for name, tensor in evidence().items() if not name.startswith("mask")}
    found = pixels(verdict(shown))
    assert count(found, drawing.RED) > 0
    assert [count(found, colour) for colour in pictures.OUTLINES[:3]] == [0, 0, 0]


def test_empty_mask_is_not_outlined() -> None:
    shown = evidence()
    shown["mask_b"] = torch.zeros_like(shown["mask_b"])
    assert count(pixels(verdict(shown)), pictures.OUTLINES[1]) == 0


# Words.


@pytest.fixture
def captions(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines of text that are drawn."""
    found: list[str] = []
    drawn = pictures.lettered

    def note(lines: list[str], size: int) -> Image.Image:
        found.extend(lines)
        return drawn(lines, size)

    monkeypatch.setattr(pictures, "lettered", note)
    return found


def test_captions_say_which_class_and_which_patch(captions: list[str]) -> None:
    pixels(verdict(evidence(1)))
    assert captions[:5] == [
        "input",
        "map for class 3, ±1",
        "patch a makes it",
        "map for class 7, ±1",
        "patch b makes it",
    ]
    assert "null_feature of mymod:explain on digits: fail" in captions
    words = " ".join(captions)
    assert (
        "null_feature: 0.41 of the attribution falls on a feature that changes nothing (gate <= 0.25)"
        in words
    )
    assert "99th percentile of |S|" in words


def test_both_patches_may_make_the_class(captions: list[str]) -> None:
    shown = evidence(1)
    shown["target_b"] = shown["target_a"]
    del shown["map_b"]
    pixels(verdict(shown))
    assert captions[2] == "patches a and b make it"


def test_no_patch_may_make_the_class(captions: list[str]) -> None:
    shown = evidence(1)
    del shown["mask_b"]
    pixels(verdict(shown))
    assert captions[4] == "no patch makes it"


def test_what_the_evidence_does_not_tell_is_not_said(captions: list[str]) -> None:
    shown = evidence(1)
    del shown["target_b"]
    pixels(verdict(shown))
    assert captions[:3] == ["input", "map for class 3, ±1", "patch a makes it"]
    assert captions[3] == "map b, ±1"
    captions.clear()
    pixels(verdict(shown | {"map_b": shown["map_a"], "target_c": torch.tensor([5]), "map_c": shown["map_b"]}))
    assert captions[4:6] == ["map for class 5, ±1", "null_feature of mymod:explain on digits: fail"]


def test_first_samples_are_shown_and_the_rest_is_counted(captions: list[str]) -> None:
    pixels(verdict(evidence(9)))
    assert captions.count("input") == 6
    assert " ".join(captions).endswith("The first 6 of 9 samples.")


def test_long_words_are_cut_and_unknown_signs_spelled() -> None:
    lines = drawing.wrapped("x" * 500, 13, 200)
    assert "".join(lines) == "x" * 500
    assert all(drawing.font(13).getlength(line) <= 200 for line in lines)
    assert drawing.wrapped("Σ|a| ≤ −0.5 café 中", 13, 500) == ["sum |a| <= -0.5 cafe ?"]


# What is not shown.


@pytest.mark.parametrize(
    "missing", [["composite"], ["map_a", "map_b"], list(evidence())], ids=["inputs", "maps", "all"]
)
def test_verdict_without_maps_or_inputs_has_no_picture(missing: list[str]) -> None:
    shown = {name: tensor for name, tensor in evidence().items() if name not in missing}
    assert picture_of(verdict(shown)) is None
    assert picture_of(verdict({"curve": torch.zeros(3)})) is None
    assert picture_of(verdict(evidence(0))) is None


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("map_a", (3, 1, 32, 32), r"map_a: expected \(3, 32, 32\), came \(3, 1, 32, 32\)"),
        ("mask_b", (3, 32, 32), r"mask_b: expected \(3, 1, 32, 32\), came \(3, 32, 32\)"),
        ("target_a", (3, 1), r"target_a: expected \(3,\), came \(3, 1\)"),
        ("composite", (3, 6), r"composite: expected \(k, C, H, W\), came \(3, 6\)"),
    ],
)
def test_other_shapes_are_named(name: str, shape: tuple[int, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        picture_of(verdict(evidence() | {name: torch.zeros(shape)}))


# Files.

NAMES = [
    "mymod:explain",
    "mymod-explain",
    "a/b.py:f",
    "a:b.py:f",
    "x?layer=s",
    "x?layer=S",
    "good",
    "Good",
    "..",
    "",
]


def test_names_are_safe_and_distinct() -> None:
    found = [safe_name(name) for name in [*NAMES, "x" * 500, "x" * 501, "解释"]]
    assert len({name.lower() for name in found}) == len(found)
    for name in found:
        assert 0 < len(name) < 100
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-=")
    assert safe_name("null_feature") == "null_feature"
    assert safe_name("mymod:explain").startswith("mymod-explain-")


def test_results_save_their_pictures(tmp_path: Path) -> None:
    shown = evidence(1)
    verdicts = [verdict(shown, "good"), verdict({}, "good", "deletion"), verdict(shown, "a/../b.py:f")]
    found = Results(verdicts).save_pictures(tmp_path / "new")
    assert found[0] == tmp_path / "new" / "good" / "null_feature.png"
    assert sorted(found) == sorted((tmp_path / "new").glob("*/*"))
    assert len(found) == 2
    assert (np.asarray(Image.open(found[0])) == pixels(verdicts[0])).all()


def test_a_picture_is_replaced_and_taken_away(tmp_path: Path) -> None:
    first, second = verdict(evidence(1)), verdict(evidence(2))
    path = pictures.save(first, tmp_path)
    assert path is not None
    assert pictures.save(second, tmp_path) == path
    assert (np.asarray(Image.open(path)) == pixels(second)).all()
    assert pictures.save(replace(first, evidence={}), tmp_path) is None
    assert not list(path.parent.iterdir())


def test_failed_writing_leaves_the_older_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = pictures.save(verdict(evidence(1)), tmp_path)
    assert path is not None
    before = path.read_bytes()

    def full(*args: object, **options: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(OSError, match="No space left"):
        pictures.save(verdict(evidence(2)), tmp_path)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


# Sheets of generated features.


def features(letters: str, classes: str, channels: int = 3) -> dict[str, Tensor]:
    """Two samples on a reference of −1 to 0; each patch is 1 throughout."""
    shown = evidence(count=2, channels=channels)
    masks = {f"mask_{letter}": shown[f"mask_{letter}"] for letter in letters}
    reference = -torch.rand(2, channels, 32, 32, generator=torch.Generator().manual_seed(0))
    alone = {f"only_{key[-1]}": torch.where(mask, 1.0, reference) for key, mask in masks.items()}
    composite = torch.where(torch.stack(list(masks.values())).any(0), 1.0, reference)
    targets = {f"target_{letter}": shown[f"target_{letter}"] for letter in classes}
    return {"composite": composite, "reference": reference, **alone, **masks, **targets}


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize(("letters", "classes"), [("ab", "ab"), ("a", "ab"), ("ab", "a")])
def test_examples_show_all_patches_none_and_each(letters: str, classes: str, channels: int) -> None:
    shown = features(letters, classes, channels)
    found = np.asarray(pictures.examples(shown, "two", "samples"))
    factor = pictures.magnify(np.zeros((32, 32, 3), np.uint8))
    patch = (8 * factor) ** 2
    outline = patch - (8 * factor - 2 * pictures.OUTLINE) ** 2
    for colour, letter in zip(pictures.OUTLINES, letters, strict=False):
        assert outline < count(found, colour) / 2 < outline + 14 * 14, f"{letter}: its outline, and its label"
    one = np.asarray(pictures.examples(shown, "two", "samples", samples=1))
    assert one.shape[0] < found.shape[0]
    second = np.asarray(pictures.examples(shown, "two", "samples", first=1))
    assert second.shape == one.shape
    assert (second != one).any()
    assert all(count(found, end) < patch for end in (drawing.RED, drawing.BLUE)), "no scale of maps"


def test_tiles_of_a_row_share_one_scale() -> None:
    """A reference darker than the patches stays dark where it stands alone."""
    tiles = [np.asarray(tile) for tile in pictures._example(features("ab", "ab"), 0)]
    assert len(tiles) == 4
    corner = [tile[-40:-2, 2:40] for tile in tiles]  # where no patch is
    assert all((part == corner[0]).all() for part in corner)
    assert corner[1].max() <= 128


def test_examples_of_another_shape_are_refused() -> None:
    shown = features("ab", "ab")
    with pytest.raises(ValueError, match=r"only_b: expected \(2, 3, 32, 32\), came \(1, 3, 32, 32\)"):
        pictures.examples({**shown, "only_b": shown["only_b"][:1]}, "two", "samples")
