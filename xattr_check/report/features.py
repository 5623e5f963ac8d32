"""Pictures of what is no image: a signal over its scores, words in colours, columns with bars, slices."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image, ImageDraw
from torch import Tensor

from xattr_check.report.drawing import (
    BLUE,
    RED,
    Floats,
    floats,
    font,
    heat,
    lettered,
    line_height,
    plain,
    scale,
    width_of,
)

# Pixels: how wide a picture of one input is, how high one channel of a signal, and one slice of a volume.
WIDTH, CHANNEL, SLICE = 490, 70, 160
# Columns that are shown: those with the greatest scores.
COLUMNS = 12
FOOT = (
    "Maps: red is positive, blue negative, white zero; full colour, or the longest bar, stands for the "
    "number behind ±, the 99th percentile of |S| in the input's own map."
)
NEUTRAL = (170, 170, 170)
Names = Sequence[str]
Draw = Callable[[Floats, Floats, Names, float], Image.Image]


def row(evidence: Mapping[str, Tensor], kind: str, sample: int, names: Names) -> Image.Image:
    """One input with its map, under a line that says which and how much.

    evidence: `kind` (k, *F), the inputs, named by their layout; `map_a` (k, *spatial), signed scores;
        `index`, `row` and `target_a` (k,), as for images. names: of the sample's features, or none.
    Raises ValueError for a map of other features.
    """
    values, scores = (floats(evidence[name][sample]) for name in (kind, "map_a"))
    end, is_maximum = scale(scores)
    caption = f"target {int(evidence['target_a'][sample])}, ±{end:.3g}{' (maximum)' if is_maximum else ''}"
    if "row" in evidence:
        number, measured = int(evidence["index"][sample]), float(evidence["row"][sample])
        caption = f"input {number}: {measured:.3g}; map for {caption}"
    return _under(lettered([caption], 12), KINDS[kind](values, scores, names, end))


def _signal(values: Floats, scores: Floats, names: Names, end: float) -> Image.Image:
    """(C, T) over (T,): each channel as a line, on the colours of its times."""
    times = values.shape[1]
    width = WIDTH if times > WIDTH else round(WIDTH / times) * times
    bands = []
    for line in values:
        band = Image.fromarray(heat(_spread(scores, width)[None].repeat(CHANNEL, 0), end))
        low, high = float(line.min()), float(line.max())
        heights = CHANNEL - 6 - (line - low) / ((high - low) or 1.0) * (CHANNEL - 12)
        middles = (np.arange(times) + 0.5) * width / times
        points = [(float(x), float(y)) for x, y in zip(middles, heights, strict=True)]
        ImageDraw.Draw(band).line(points, fill="black", width=1)
        bands.append(band)
    return _stacked(bands)


def _spread(scores: Floats, width: int) -> Floats:
    """(T,) as (width,): of the times that share a pixel, the one with the greatest score."""
    if width >= len(scores):
        return scores[np.arange(width) * len(scores) // width]
    parts = np.array_split(scores, width)
    return np.stack([part[np.nan_to_num(np.abs(part)).argmax()] for part in parts])


def _columns(values: Floats, scores: Floats, names: Names, end: float) -> Image.Image:
    """(D,) beside (D,): the columns with the greatest scores, their values, and bars."""
    shown = np.argsort(-np.nan_to_num(np.abs(scores)), kind="stable")[:COLUMNS]
    height, middle, reach = line_height(12), WIDTH * 3 // 4, WIDTH // 4 - 4
    picture = Image.new("RGB", (WIDTH, height * len(shown)), "white")
    draw = ImageDraw.Draw(picture)
    for place, column in enumerate(shown):
        name = plain(names[column]) if names else f"column {column}"
        share = np.nan_to_num(np.clip(scores[column] / (end or 1.0), -1, 1))
        top, length = place * height, reach * float(share)
        draw.text((0, top), f"{name} = {values[column]:.3g}", font=font(12), fill="black")
        ends = sorted((middle, round(middle + length)))
        draw.rectangle((middle - reach, top, WIDTH, top + height), fill="white")
        draw.rectangle((ends[0], top + 2, ends[1], top + height - 3), fill=RED if length > 0 else BLUE)
    draw.line((middle, 0, middle, picture.height), fill=NEUTRAL)
    return picture


def _words(values: Floats, scores: Floats, names: Names, end: float) -> Image.Image:
    """(T, E) with (T,): words on the colours of their scores, in lines; without names, their places."""
    texts = [plain(name) for name in names] or [str(place) for place in range(len(scores))]
    colours, height = heat(scores[None], end)[0], line_height(13) + 4
    boxes: list[tuple[int, int, int]] = []
    left = top = 0
    for text in texts:
        width = round(width_of(text, 13)) + 6
        if left and left + width > WIDTH:
            left, top = 0, top + height
        boxes.append((left, top, width))
        left += width + 2
    picture = Image.new("RGB", (max(WIDTH, *(x + width for x, _, width in boxes)), top + height), "white")
    draw = ImageDraw.Draw(picture)
    for text, colour, (x, y, width) in zip(texts, colours, boxes, strict=False):
        if text:
            draw.rectangle((x, y + 1, x + width, y + height - 2), fill=tuple(int(part) for part in colour))
            ink = "black" if colour.mean() > 140 else "white"
            draw.text((x + 3, y + 1), text, font=font(13), fill=ink)
    return picture


def _volume(values: Floats, scores: Floats, names: Names, end: float) -> Image.Image:
    """(C, D, H, W) beside (D, H, W): the slice whose scores are the greatest, and its map."""
    depth = int(np.nan_to_num(np.abs(scores)).sum((1, 2)).argmax())
    grey = values[:, depth].mean(0)
    low, high = float(grey.min()), float(grey.max())
    shown = np.repeat((255 * (grey - low) / ((high - low) or 1.0)).round().astype(np.uint8)[..., None], 3, 2)
    factor = max(1, round(SLICE / max(grey.shape)))
    tiles = [
        Image.fromarray(part.repeat(factor, 0).repeat(factor, 1))
        for part in (shown, heat(scores[depth], end))
    ]
    gap = 8
    picture = Image.new("RGB", (sum(tile.width for tile in tiles) + gap, tiles[0].height), "white")
    picture.paste(tiles[0], (0, 0))
    picture.paste(tiles[1], (tiles[0].width + gap, 0))
    return _under(lettered([f"slice {depth} of {len(scores)}, of the greatest scores"], 12), picture)


KINDS: Mapping[str, Draw] = {
    "signal": _signal,
    "columns": _columns,
    "tokens": _words,
    "embeddings": _words,
    "volume": _volume,
}


def _under(head: Image.Image, picture: Image.Image) -> Image.Image:
    return _stacked([head, picture], gap=3)


def _stacked(pictures: Sequence[Image.Image], gap: int = 2) -> Image.Image:
    """Pictures below one another."""
    height = sum(picture.height for picture in pictures) + gap * (len(pictures) - 1)
    found = Image.new("RGB", (max(picture.width for picture in pictures), height), "white")
    top = 0
    for picture in pictures:
        found.paste(picture, (0, top))
        top += picture.height + gap
    return found
