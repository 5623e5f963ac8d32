"""Imputation against a sparse system for each image, solved by SciPy."""

import numpy as np
import pytest
import torch
from scipy.sparse import lil_matrix
from scipy.sparse.linalg import spsolve
from torch import Tensor

from xattr_check.perturbation.impute import imputed


def slow(image: Tensor, keep: Tensor) -> Tensor:
    """One channel (H, W): an equation for each missing pixel."""
    height, width = image.shape
    missing = [tuple(place) for place in (~keep).nonzero().tolist()]
    number = {place: row for row, place in enumerate(missing)}
    matrix, right = lil_matrix((len(missing), len(missing))), np.zeros(len(missing))
    for row, (i, j) in enumerate(missing):
        for down in (-1, 0, 1):
            for across in (-1, 0, 1):
                other = i + down, j + across
                inside = 0 <= other[0] < height and 0 <= other[1] < width
                if other == (i, j) or not inside:
                    continue
                weight = 1 / 6 if 0 in (down, across) else 1 / 12
                matrix[row, row] += weight
                if other in number:
                    matrix[row, number[other]] -= weight
                else:
                    right[row] += weight * float(image[other])
    found = image.double().clone()
    for place, value in zip(missing, np.atleast_1d(spsolve(matrix.tocsc(), right)), strict=True):
        found[place] = value
    return found


def masks(height: int, width: int) -> Tensor:
    """(6, H, W) keep masks: noise of three densities, a blob, stripes, all but a corner."""
    generator = torch.Generator().manual_seed(0)
    noise = [torch.rand(height, width, generator=generator) < share for share in (0.9, 0.5, 0.1)]
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    blob = (rows - height / 2) ** 2 + (columns - width / 2) ** 2 > (0.45 * min(height, width)) ** 2
    return torch.stack([*noise, blob, (rows // 3 % 2 == 0).expand(height, width), (rows < 2) & (columns < 2)])


@pytest.mark.parametrize("size", [(32, 32), (12, 12), (13, 21)])
def test_missing_pixels_are_the_weighted_mean_of_their_neighbours(size: tuple[int, int]) -> None:
    keep = masks(*size)
    images = torch.randn(len(keep), 2, *size, generator=torch.Generator().manual_seed(1))
    found = imputed(images, keep[:, None])
    for one, mask, result in zip(images, keep, found, strict=True):
        for channel in range(2):
            error = (result[channel].double() - slow(one[channel], mask)).abs().max()
            assert float(error) < 0.02
            assert torch.equal(result[channel][mask], one[channel][mask])


def test_channels_may_miss_other_pixels() -> None:
    keep = masks(12, 12)[:2].reshape(1, 2, 12, 12)
    images = torch.randn(1, 2, 12, 12)
    found = imputed(images, keep)
    for channel in range(2):
        error = (found[0, channel].double() - slow(images[0, channel], keep[0, channel])).abs().max()
        assert float(error) < 1e-3


def test_an_image_does_not_depend_on_its_batch() -> None:
    keep, images = masks(16, 16)[:, None], torch.randn(6, 3, 16, 16)
    alone = torch.cat([imputed(images[row : row + 1], keep[row : row + 1]) for row in range(6)])
    torch.testing.assert_close(imputed(images, keep), alone, rtol=0, atol=1e-5)


def test_a_plane_is_continued_and_what_is_lost_is_zero() -> None:
    plane = torch.full((2, 1, 9, 9), 3.0)
    keep = torch.rand(2, 1, 9, 9, generator=torch.Generator().manual_seed(0)) < 0.3
    keep[1] = False
    found = imputed(plane, keep)
    torch.testing.assert_close(found[0], plane[0])
    assert torch.equal(found[1], torch.zeros(1, 9, 9))
