import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from torch import Tensor

from xattr_check.statistics.similarity import correlation, oriented_gradients, spearman, ssim

ROWS = torch.randn(6, 40, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
OTHERS = 0.5 * ROWS + torch.randn(6, 40, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def textbook_spearman(one: list[float], other: list[float]) -> float:
    def ranks(row: list[float]) -> list[float]:
        return [sum(v < x for v in row) + (sum(v == x for v in row) - 1) / 2 for x in row]

    first, second = ranks(one), ranks(other)
    mean = (len(one) - 1) / 2
    top = sum((a - mean) * (b - mean) for a, b in zip(first, second, strict=True))
    bottom = sum((a - mean) ** 2 for a in first) * sum((b - mean) ** 2 for b in second)
    return float(top / bottom**0.5)


def test_spearman_agrees_with_scipy_and_the_textbook() -> None:
    first, second = ROWS.round(decimals=0), OTHERS.round(decimals=0)  # with ties
    found = spearman(first, second)
    for row in range(6):
        expected = stats.spearmanr(first[row].numpy(), second[row].numpy()).statistic
        assert float(found[row]) == pytest.approx(expected)
        assert float(found[row]) == pytest.approx(
            textbook_spearman(first[row].tolist(), second[row].tolist())
        )


def test_correlation_agrees_with_scipy() -> None:
    found = correlation(ROWS, OTHERS)
    expected = [stats.pearsonr(a, b).statistic for a, b in zip(ROWS.numpy(), OTHERS.numpy(), strict=True)]
    assert found.tolist() == pytest.approx(expected)


@pytest.mark.parametrize("similarity", [spearman, correlation])
def test_constants(similarity: object) -> None:
    """Two constant maps are one map; a constant map tells nothing about another."""
    for level in (0.0, 1.0, 1e-30, 1e8, 1 / 3):
        flat = torch.full_like(ROWS, level)
        assert similarity(flat, flat + level).tolist() == [1.0] * 6, level  # type: ignore[operator]
        assert similarity(flat, ROWS).tolist() == [0.0] * 6, level  # type: ignore[operator]
        assert similarity(ROWS, flat).tolist() == [0.0] * 6, level  # type: ignore[operator]


@given(st.floats(1e-6, 1e6), st.floats(-100, 100))
def test_scale_and_level_do_not_matter(scale: float, level: float) -> None:
    moved: Tensor = scale * ROWS + level * scale
    assert torch.allclose(correlation(ROWS, moved), torch.ones(6, dtype=torch.float64))
    assert torch.allclose(correlation(ROWS, -moved), -torch.ones(6, dtype=torch.float64))


def textbook_ssim(one: Tensor, other: Tensor, window: int) -> float:
    """Wang et al. (2004) with a uniform window, averaged where the window fits."""
    first, second = [(m - m.min()) / (m.max() - m.min()) for m in (one.double(), other.double())]
    values = []
    for i in range(one.shape[0] - window + 1):
        for j in range(one.shape[1] - window + 1):
            a, b = first[i : i + window, j : j + window], second[i : i + window, j : j + window]
            covariance = float(torch.cov(torch.stack([a.flatten(), b.flatten()]))[0, 1])
            means = float(a.mean()), float(b.mean())
            top = (2 * means[0] * means[1] + 0.01**2) * (2 * covariance + 0.03**2)
            bottom = (means[0] ** 2 + means[1] ** 2 + 0.01**2) * (float(a.var()) + float(b.var()) + 0.03**2)
            values.append(top / bottom)
    return sum(values) / len(values)


@pytest.mark.parametrize(("side", "window"), [(16, 7), (6, 5), (3, 3)])
def test_ssim_agrees_with_the_textbook(side: int, window: int) -> None:
    maps = torch.randn(2, 2, side, side, generator=torch.Generator().manual_seed(0))
    maps[1] = maps[0] + 0.5 * maps[1]
    expected = [textbook_ssim(one, other, window) for one, other in zip(*maps, strict=True)]
    assert ssim(maps[0], maps[1]).tolist() == pytest.approx(expected, abs=1e-6)


def test_ssim_of_a_map_with_itself_is_one() -> None:
    maps = torch.randn(3, 16, 16)
    assert ssim(maps, 3 * maps + 1).tolist() == pytest.approx([1.0] * 3)
    flat = torch.zeros(3, 16, 16)
    assert torch.isfinite(ssim(flat, maps)).all()
    assert ssim(flat, flat).tolist() == pytest.approx([1.0] * 3)


def textbook_cell(image: Tensor, cell: int) -> Tensor:
    """Votes of the pixels of one cell's worth of an image for nine orientations, unnormalised."""
    scaled = (image - image.min()) / (image.max() - image.min())
    votes = torch.zeros(9)
    for y in range(cell):
        for x in range(cell):
            down = float(scaled[y + 1, x] - scaled[y - 1, x]) if 0 < y < len(image) - 1 else 0.0
            right = float(scaled[y, x + 1] - scaled[y, x - 1]) if 0 < x < len(image) - 1 else 0.0
            angle = math.degrees(math.atan2(down, right)) % 180
            votes[min(8, int(angle // 20))] += math.hypot(down, right) / cell**2
    return votes


def test_oriented_gradients_agree_with_the_textbook() -> None:
    """The first cell of the first block, up to the block's norm; [dalal2005] without overlapping votes."""
    maps = torch.randn(3, 16, 16, generator=torch.Generator().manual_seed(0))
    found = oriented_gradients(maps)
    assert found.shape == (3, 7 * 7 * 4 * 9)
    expected = torch.stack([textbook_cell(one.double(), 2) for one in maps]).double()
    # Clipped at a fifth of the norm and normalised again: the order of what is not clipped stays.
    cosine = torch.nn.functional.cosine_similarity(found[:, :9], expected, dim=1)
    assert float(cosine.min()) > 0.95


@pytest.mark.parametrize("side", [1, 2, 3, 6, 12, 33])
def test_oriented_gradients_of_images_of_any_size(side: int) -> None:
    maps = torch.randn(2, side, side, generator=torch.Generator().manual_seed(0))
    found = oriented_gradients(maps)
    assert torch.isfinite(found).all()
    torch.testing.assert_close(oriented_gradients(3 * maps + 1), found)
    assert correlation(found, found).tolist() == pytest.approx([1.0] * 2)
    flat = oriented_gradients(torch.zeros_like(maps))
    assert correlation(flat, flat).tolist() == [1.0] * 2


def test_places_that_are_nan_are_left_out() -> None:
    """Each row is compared at the places that both have, however many there are."""
    one, other = ROWS.clone(), OTHERS.clone()
    one[0, :7], other[0, 30:], other[2, ::2] = math.nan, math.nan, math.nan
    expected = [(0, slice(7, 30)), (1, slice(None)), (2, slice(1, None, 2))]
    found = spearman(one, other)
    for row, kept in expected:
        torch.testing.assert_close(
            found[row], spearman(ROWS[row : row + 1, kept], OTHERS[row : row + 1, kept])[0]
        )
