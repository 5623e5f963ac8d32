"""Pictures: what a check saw, as one sheet of inputs and of the method's maps beside them."""

import re
from collections.abc import Mapping, Sequence
from itertools import cycle
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageOps
from torch import Tensor

from xattr_check.core.layouts import is_image
from xattr_check.core.verdict import Verdict
from xattr_check.report import features
from xattr_check.report.drawing import (
    Colour,
    Floats,
    Pixels,
    floats,
    font,
    heat,
    lettered,
    line_height,
    marked,
    scale,
    wrapped,
)
from xattr_check.storage.digest import safe_name
from xattr_check.storage.files import written

# Pixels of the sheet: a tile, an outline, the space between tiles, the narrowest text that reads well.
TILE, OUTLINE, GAP, LEAST_WIDTH = 160, 2, 14, 520
OUTLINES: tuple[Colour, ...] = ((0, 150, 0), (190, 0, 190), (225, 150, 0), (0, 0, 0))
FOOT = (
    "Inputs are stretched to their own range. Maps: red is positive, blue negative, white zero; full colour "
    "stands for the number over a map, the 99th percentile of |S| in it."
)
WORST = " The worst inputs of the first draw, each with its number and what was measured on it."
EXAMPLES_FOOT = (
    "Each row is stretched to the range of its own pixels. Classes are numbers of the model's outputs."
)


def sheet(
    evidence: Mapping[str, Tensor],
    title: str,
    text: str,
    *,
    names: Sequence[Sequence[str]] = (),
    samples: int = 6,
) -> Image.Image | None:
    """A row for each sample: its input and its maps, patches outlined; None where the evidence has no maps.

    evidence: `composite` (k, C, H, W), the inputs; `map_a`, `map_b`, … (k, H, W), signed attributions for one
        class each; optionally `mask_a`, `mask_b`, … (k, 1, H, W) bool, patches, and `target_a`, `target_b`, …
        (k,) int64, the classes that the patches make and that the maps of the same letter are for; `index`
        and `row` (k,), the number of each input and what was measured on it.
        Of what is no image, the inputs by the name of their layout, as `signal` (k, C, T), and `map_a`
        (k, *spatial), scores of the features. names: of these features, for each sample.
    title: one line. text: wrapped below it. samples: rows at most, the first ones of the evidence.

    A map's scale is symmetric about zero and ends at the 99th percentile of its own magnitude, or at its
    maximum where that percentile is zero. What is not a number is grey. Raises ValueError for other shapes.
    """
    kind = next((kind for kind in features.KINDS if kind in evidence), None)
    if kind is not None:
        count = min(samples, len(evidence[kind]))
        tiles = [
            [features.row(evidence, kind, sample, names[sample] if names else ())] for sample in range(count)
        ]
        return composed(tiles, title, text, f"{features.FOOT}{WORST}") if tiles else None
    if "composite" not in evidence or not _lettered(evidence, "map_"):
        return None
    _check(evidence)
    rows = [_row(evidence, sample) for sample in range(min(samples, len(evidence["composite"])))]
    if not rows:
        return None
    foot = FOOT
    if "row" in evidence:
        foot += WORST
    if len(rows) < len(evidence["composite"]):
        foot += f" The first {len(rows)} of {len(evidence['composite'])} samples."
    return composed(rows, title, text, foot)


def picture_of(verdict: Verdict) -> Image.Image | None:
    """The sheet of a verdict, None where its evidence holds no maps.

    Raises ValueError where a tensor of the evidence has another shape than its name says.
    """
    title = f"{verdict.check} of {verdict.method} on {verdict.subject}: {verdict.status.replace('_', ' ')}"
    return sheet(verdict.evidence, title, str(verdict), names=verdict.names)


def examples(
    images: Mapping[str, Tensor], title: str, text: str, *, first: int = 0, samples: int = 8
) -> Image.Image:
    """A row for each sample of generated features: all patches, outlined; the reference; each patch alone.

    images: what `generation.generator.shown` gives, at least one sample. first, samples: which of them.
    The tiles of a row share one scale, so that what is the same looks the same. Raises ValueError for other
    shapes.
    """
    _check(images)
    rows = [
        _example(images, sample) for sample in range(first, min(first + samples, len(images["composite"])))
    ]
    return composed(rows, title, text, EXAMPLES_FOOT, legend=False)


def magnify(pixels: Pixels) -> int:
    """How many times a (H, W, …) tile is enlarged: its longer side comes near to TILE and never shrinks."""
    longer: int = max(pixels.shape[:2])
    return max(1, round(TILE / longer))


def display(image: Floats, span: tuple[float, float] | None = None) -> Pixels:
    """An input (C, H, W) in colours (H, W, 3), stretched to its range; grey unless it has three channels.

    span: the range, where it is not the input's own.
    """
    shown = image if len(image) == 3 else image.mean(0, keepdims=True).repeat(3, axis=0)
    finite = shown[np.isfinite(shown)]
    low, high = span or ((finite.min(), finite.max()) if finite.size else (0.0, 0.0))
    unit = np.clip((shown - low) / ((high - low) or 1.0), 0, 1)
    return marked(255 * unit.transpose(1, 2, 0), np.asarray(np.isnan(shown).any(axis=0)))


def edge(mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a mask (H, W) within OUTLINE of what is outside; the image's border counts as outside."""
    inner = np.pad(mask, OUTLINE)
    for _ in range(OUTLINE):
        inner &= np.roll(inner, 1, 0) & np.roll(inner, -1, 0) & np.roll(inner, 1, 1) & np.roll(inner, -1, 1)
    kept = inner[OUTLINE:-OUTLINE, OUTLINE:-OUTLINE]
    return mask & ~kept


def write(picture: Image.Image, path: Path) -> None:
    """Write a picture as PNG, whole or not at all, into a folder that is made for it. Raises OSError."""
    with written(path) as part:
        # The fastest compression: it is a third of the time, and flat colours stay small.
        picture.save(part, format="PNG", compress_level=1)


def save(verdict: Verdict, folder: Path) -> Path | None:
    """Write the picture of a verdict to FOLDER/METHOD/CHECK.png, whole or not at all; None where it has none.

    Replaces the one that is there, or takes it away where the verdict has none: it shows another verdict.
    Raises OSError where the folder cannot be written, ValueError where the evidence cannot be drawn.
    """
    path = folder / safe_name(verdict.method) / f"{safe_name(verdict.check)}.png"
    picture = picture_of(verdict)
    if picture is None:
        if path.exists():
            path.unlink()
        return None
    write(picture, path)
    return path


def _lettered(evidence: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """The tensors named PREFIX and a letter, by letter."""
    pattern = re.compile(f"{prefix}([a-z])")
    found = {match[1]: tensor for name, tensor in evidence.items() if (match := pattern.fullmatch(name))}
    return dict(sorted(found.items()))


def _check(evidence: Mapping[str, Tensor]) -> None:
    composite = evidence["composite"]
    if not is_image(composite):
        raise ValueError(f"composite: expected (k, C, H, W), came {tuple(composite.shape)}")
    k, _, *spatial = composite.shape
    expected: dict[str, tuple[int, ...]] = {"map_": (k, *spatial), "mask_": (k, 1, *spatial), "target_": (k,)}
    expected["only_"] = tuple(composite.shape)
    for prefix, shape in expected.items():
        for letter, tensor in _lettered(evidence, prefix).items():
            if tensor.shape != shape:
                raise ValueError(f"{prefix}{letter}: expected {shape}, came {tuple(tensor.shape)}")


def _row(evidence: Mapping[str, Tensor], sample: int) -> list[Image.Image]:
    """The tiles of one sample, captions included."""
    found = {prefix: _lettered(evidence, prefix) for prefix in ("mask_", "map_", "target_")}
    masks = {letter: mask[sample, 0].bool().cpu().numpy() for letter, mask in found["mask_"].items()}
    targets = {letter: int(target[sample]) for letter, target in found["target_"].items()}
    tile = outlined(display(floats(evidence["composite"][sample])), masks, letters=True)
    caption = ["input"]
    if "row" in evidence:
        caption = [f"input {int(evidence['index'][sample])}: {float(evidence['row'][sample]):.3g}"]
    tiles = [captioned(tile, *caption)]
    for letter, maps in found["map_"].items():
        attribution = floats(maps[sample])
        end, is_maximum = scale(attribution)
        number = f"±{end:.3g}{' (maximum)' if is_maximum else ''}"
        tile = outlined(heat(attribution, end), masks, letters=False)
        if letter not in targets:
            tiles.append(captioned(tile, f"map {letter}, {number}"))
            continue
        # Outputs of a subject need not be classes; what features are made for are.
        kind = "target" if "row" in evidence else "class"
        lines = [f"map for {kind} {targets[letter]}, {number}"]
        makers = [patch for patch in masks if targets.get(patch) == targets[letter]]
        if len(makers) > 1:
            lines.append(f"patches {' and '.join(makers)} make it")
        elif makers:
            lines.append(f"patch {makers[0]} makes it")
        elif masks and masks.keys() <= targets.keys():  # else a patch whose class is not told may do so
            lines.append("no patch makes it")
        tiles.append(captioned(tile, *lines))
    return tiles


def _example(images: Mapping[str, Tensor], sample: int) -> list[Image.Image]:
    """The tiles of one sample of generated features, captions included."""
    masks = {letter: mask[sample, 0].cpu().numpy() for letter, mask in _lettered(images, "mask_").items()}
    targets = {letter: int(target[sample]) for letter, target in _lettered(images, "target_").items()}
    composite, reference = (floats(images[name][sample]) for name in ("composite", "reference"))
    # In a scenario of one class all make that.
    made = {letter: targets.get(letter, targets["a"]) for letter in masks}
    head = ["all patches"]
    alone: list[tuple[list[str], Floats]] = []
    if len(masks) == 1:
        head = [f"patch a makes class {made['a']}"]
        head += [f"class {other} is not changed" for letter, other in targets.items() if letter not in masks]
    else:
        for letter, only in _lettered(images, "only_").items():
            alone.append(([f"only {letter}, makes class {made[letter]}"], floats(only[sample])))
    pixels = np.stack([composite, reference])
    pixels = pixels if pixels.shape[1] == 3 else pixels.mean(1)
    span = float(pixels.min()), float(pixels.max())
    tiles = [captioned(outlined(display(composite, span), masks, letters=True), *head)]
    return tiles + [
        captioned(outlined(display(image, span), {}, letters=False), *caption)
        for caption, image in [(["reference"], reference), *alone]
    ]


def outlined(pixels: Pixels, masks: Mapping[str, NDArray[np.bool_]], *, letters: bool) -> Image.Image:
    """A tile enlarged by nearest neighbour, with the outlines of the patches, and their letters or not."""
    factor = magnify(pixels)
    large = pixels.repeat(factor, 0).repeat(factor, 1)
    patches = [
        (letter, mask.repeat(factor, 0).repeat(factor, 1), colour)
        for (letter, mask), colour in zip(masks.items(), cycle(OUTLINES), strict=False)
    ]
    for _, mask, colour in patches:
        large[edge(mask)] = colour
    tile = Image.fromarray(large)
    draw = ImageDraw.Draw(tile)
    for letter, mask, colour in patches:
        if letters and mask.any():
            top, left = (int(places.min()) for places in np.nonzero(mask))
            draw.rectangle((left, top, left + 13, top + 13), fill=colour)
            draw.text((left + 7, top + 7), letter, font=font(13), fill="white", anchor="mm")
    return tile


def captioned(tile: Image.Image, *lines: str) -> Image.Image:
    """A tile in a thin frame, under one or two lines of text."""
    caption, tile = lettered(lines, 12), ImageOps.expand(tile, 1, fill=(170, 170, 170))
    top = 2 * line_height(12) + 2
    captioned = Image.new("RGB", (max(TILE, tile.width, caption.width), top + tile.height), "white")
    captioned.paste(caption, (0, top - 2 - caption.height))
    captioned.paste(tile, (0, top))
    return captioned


def composed(
    rows: Sequence[Sequence[Image.Image]], title: str, text: str, foot: str, *, legend: bool = True
) -> Image.Image:
    """All rows in columns, under the title and above the foot and, before it, the colours of maps."""
    widths = [max(tile.width for tile in column) for column in zip(*rows, strict=True)]
    width = max(LEAST_WIDTH, sum(widths) + GAP * (len(widths) - 1))
    head = [lettered(wrapped(title, 17, width), 17), lettered(wrapped(text, 13, width), 13)]
    tail = [Image.fromarray(heat(np.linspace(-1, 1, TILE)[None].repeat(8, 0), 1.0))] if legend else []
    tail.append(lettered(wrapped(foot, 12, width), 12))
    bands = [[part] for part in head] + [list(row) for row in rows] + [[part] for part in tail]
    heights = [max(part.height for part in band) for band in bands]
    picture = Image.new("RGB", (width + 2 * GAP, sum(heights) + GAP * (len(bands) + 1)), "white")
    top = GAP
    for band, height in zip(bands, heights, strict=True):
        left = GAP
        for part, column in zip(band, widths, strict=False):
            picture.paste(part, (left, top))
            left += column + GAP
        top += height + GAP
    return picture
