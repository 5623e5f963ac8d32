"""What pictures are made of: the colours of maps, and text."""

import base64
import io
import unicodedata
from collections.abc import Sequence
from functools import cache
from itertools import count

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

Floats = NDArray[np.float64]
Pixels = NDArray[np.uint8]
Colour = tuple[int, int, int]

# The ends of the diverging scale are ColorBrewer's RdBu; the outlines are far from both and from each other.
RED: Colour = (178, 24, 43)
BLUE: Colour = (33, 102, 172)
UNDEFINED: Colour = (128, 128, 128)
# Pillow's own font has little beyond ASCII, and fonts of the machine would make sheets differ.
SIGNS = str.maketrans(
    {"≤": "<=", "≥": ">=", "−": "-", "–": "-", "—": "-", "Σ": "sum ", "′": "'", "×": "x", "→": "->"}
)


def scale(attribution: Floats) -> tuple[float, bool]:
    """Where a map's scale ends, and whether that is its maximum, since its 99th percentile is zero."""
    magnitude = np.abs(attribution[np.isfinite(attribution)])
    if not magnitude.size:
        return 0.0, False
    end, most = float(np.percentile(magnitude, 99)), float(magnitude.max())
    return (end, False) if end > 0 or most == 0 else (most, True)


def heat(attribution: Floats, end: float) -> Pixels:
    """A map (H, W) in colours (H, W, 3): white at zero, full red from `end` on, full blue below `-end`."""
    unit = np.clip(attribution / (end or 1.0), -1, 1)[..., None]
    full = np.where(unit > 0, np.array(RED), np.array(BLUE))
    return marked(255 + np.abs(unit) * (full - 255.0), np.isnan(attribution))


def wrapped(text: str, size: int, width: int) -> list[str]:
    """A text in lines of at most `width` pixels; a word that is longer is cut."""
    lines: list[str] = []
    line = ""
    for word in plain(text).split():
        longer = f"{line} {word}".strip()
        if line and width_of(longer, size) > width:
            lines.append(line)
            longer = word
        while width_of(longer, size) > width:
            fits = next(n for n in count(1) if width_of(longer[: n + 1], size) > width)
            lines.append(longer[:fits])
            longer = longer[fits:]
        line = longer
    return [*lines, line]


def lettered(lines: Sequence[str], size: int) -> Image.Image:
    """Lines of text, black on white."""
    width = max(round(font(size).getlength(line)) for line in lines)
    picture = Image.new("RGB", (max(1, width), line_height(size) * len(lines)), "white")
    draw = ImageDraw.Draw(picture)
    for number, line in enumerate(lines):
        draw.text((0, number * line_height(size)), line, font=font(size), fill="black")
    return picture


def width_of(text: str, size: int) -> float:
    """Pixels that a text takes, by its words, which come again and again."""
    words = text.split(" ")
    return sum(_advance(word, size) for word in words) + _advance(" ", size) * (len(words) - 1)


@cache
def _advance(word: str, size: int) -> float:
    return float(font(size).getlength(word))


def line_height(size: int) -> int:
    """Pixels from one line of text to the next."""
    return round(1.3 * size)


@cache
def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font of a size, in pixels."""
    return ImageFont.load_default(size)


def plain(text: str) -> str:
    """A text in the signs that the font has; accents are dropped, the rest becomes question marks."""
    known = unicodedata.normalize("NFKD", text.translate(SIGNS))
    signs = (sign for sign in known if not unicodedata.combining(sign))
    return "".join(sign if sign.isascii() or sign == "±" else "?" for sign in signs)


def marked(colours: Floats, undefined: NDArray[np.bool_]) -> Pixels:
    """Colours (H, W, 3) as bytes, grey where they are not defined."""
    colours[undefined] = UNDEFINED
    return colours.round().astype(np.uint8)


def floats(tensor: Tensor) -> Floats:
    """A tensor on any device as numbers to draw."""
    return tensor.detach().double().cpu().numpy()


def inline(picture: Image.Image) -> str:
    """A picture as data of a page."""
    buffer = io.BytesIO()
    picture.save(buffer, "WEBP", lossless=True, method=2)
    return f"data:image/webp;base64,{base64.b64encode(buffer.getvalue()).decode()}"
