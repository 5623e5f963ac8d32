"""Sobol indices against formulas, loops, SciPy and SALib."""

import itertools

import numpy as np
import pytest
import torch
from closed_forms import ishigami, ishigami_indices, sobol_g, sobol_g_indices
from scipy import stats
from torch import Tensor

from xattr_check.statistics import sobol
from xattr_check.statistics.sobol import (
    Indices,
    bootstrap,
    half_width,
    resampled,
    saltelli,
    sobol_half_widths,
    sobol_indices,
)


@pytest.mark.parametrize(
    ("function", "known"), [(ishigami, ishigami_indices()), (sobol_g, sobol_g_indices())]
)
def test_known_indices(function, known: Indices) -> None:
    parameters = known.first.shape[0]
    outputs = function(saltelli(parameters, 2**14, seed=0))
    found = sobol_indices(outputs[None], parameters)
    torch.testing.assert_close(found.first[0], known.first, rtol=0, atol=5e-3)
    torch.testing.assert_close(found.total[0], known.total, rtol=0, atol=5e-3)
    assert found.second is None
    pairs = saltelli(parameters, 2**14, seed=0, pairs=True)
    found = sobol_indices(function(pairs)[None], parameters, pairs=True)
    for kind in ("first", "total", "second"):
        torch.testing.assert_close(getattr(found, kind)[0], getattr(known, kind), rtol=0, atol=1e-2)
    torch.testing.assert_close(found.paired[0], known.paired, rtol=0, atol=2e-2)


def test_products_of_a_polynomial_are_what_pairs_make() -> None:
    """Of Σ w g + Σ v g h with centred numbers: S_ij = v² Var(g) Var(h) / V; of a sum alone, nothing."""
    weights = torch.tensor([2.0, -1.0, 0.5, 0.0], dtype=torch.float64)
    products = torch.zeros(4, 4, dtype=torch.float64)
    products[0, 1], products[1, 3], products[2, 3] = 3.0, -2.0, 5.0
    design = saltelli(4, 2**13, seed=2, pairs=True) - 0.5
    sums = design @ weights
    outputs = torch.stack([sums, sums + torch.einsum("ki,ij,kj->k", design, products, design)])
    found = sobol_indices(outputs, 4, pairs=True)
    assert found.second is not None
    torch.testing.assert_close(found.second[0], torch.zeros_like(products), rtol=0, atol=5e-3)
    parts = (products + products.T) ** 2 / 144
    variance = (weights**2).sum() / 12 + parts.sum() / 2
    torch.testing.assert_close(found.second[1], parts / variance, rtol=0, atol=1e-2)
    # What a parameter makes is what it makes by itself and in pairs: there are no products of three.
    torch.testing.assert_close(found.total, found.first + found.paired, rtol=0, atol=3e-2)


def slow_pairs(outputs: Tensor, parameters: int, *, closed: bool = False) -> Tensor:
    """(D, D) float64 of one output on the design with pairs, pair by pair; closed: all that two make."""
    rows = (outputs - outputs.mean()).reshape(-1, 2 * parameters + 2)
    a, b = rows[:, 0], rows[:, -1]
    variance = torch.cat([a, b]).var(correction=0)
    first = [(b * (rows[:, 1 + one] - a)).mean() / variance for one in range(parameters)]
    found = torch.zeros(parameters, parameters, dtype=torch.float64)
    for one, other in itertools.combinations(range(parameters), 2):
        both = (rows[:, 1 + parameters + one] * rows[:, 1 + other] - a * b).mean() / variance
        found[one, other] = found[other, one] = both if closed else both - first[one] - first[other]
    return found


def test_closed_indices_are_not_what_pairs_make() -> None:
    """Two parameters of a sum make together what each makes by itself, and as a pair nothing."""
    design = saltelli(4, 2**12, seed=4, pairs=True)
    outputs = design @ torch.tensor([2.0, -1.0, 0.5, 1.5], dtype=torch.float64)
    found = sobol_indices(outputs[None], 4, pairs=True)
    assert found.second is not None
    torch.testing.assert_close(found.second[0], slow_pairs(outputs, 4), rtol=0, atol=1e-10)
    torch.testing.assert_close(found.second[0], torch.zeros(4, 4).double(), rtol=0, atol=5e-3)
    closed = slow_pairs(outputs, 4, closed=True)
    together = found.first[0][:, None] + found.first[0]
    torch.testing.assert_close(closed, together.fill_diagonal_(0), rtol=0, atol=5e-3)
    assert float((closed - found.second[0]).abs().max()) > 0.5


def test_a_sum_makes_all_by_itself() -> None:
    """S₁ = S_T, the ratio is 1, and both add up to 1."""
    weights = torch.tensor([3.0, -2.0, 1.0, 0.5], dtype=torch.float64)
    found = sobol_indices((saltelli(4, 2**13, seed=1) @ weights)[None], 4)
    shares = weights**2 / (weights**2).sum()
    torch.testing.assert_close(found.first[0], shares, rtol=0, atol=1e-3)
    torch.testing.assert_close(found.total[0], shares, rtol=0, atol=1e-3)
    torch.testing.assert_close(found.ratio, torch.ones_like(found.ratio), rtol=0, atol=0.05)


def test_a_product_makes_all_together() -> None:
    """Of a product of centred numbers no parameter makes anything by itself, and each makes everything."""
    found = sobol_indices((2 * saltelli(3, 2**13, seed=1) - 1).prod(1)[None], 3)
    torch.testing.assert_close(found.first, torch.zeros_like(found.first), rtol=0, atol=0.03)
    torch.testing.assert_close(found.total, torch.ones_like(found.total), rtol=0, atol=0.03)


def test_what_does_not_matter_and_what_never_changes() -> None:
    design = saltelli(3, 16, seed=0)
    outputs = torch.stack([design[:, 0], torch.full_like(design[:, 0], 0.1)])
    found = sobol_indices(outputs, 3)
    assert found.total[0, 1:].tolist() == [0, 0]
    assert found.first[0, 1:].tolist() == [0, 0]
    assert found.first[1].tolist() == found.total[1].tolist() == [0, 0, 0]
    assert bool(torch.isnan(found.ratio[1]).all())


def test_the_design_changes_one_column_at_a_time() -> None:
    design = saltelli(5, 8, seed=3).reshape(8, 7, 5)
    a, b = design[:, 0], design[:, -1]
    assert not bool((a == b).any())
    for column in range(5):
        changed = design[:, 1 + column] != a
        assert changed.all(0).tolist() == changed.any(0).tolist() == [k == column for k in range(5)]
        assert torch.equal(design[:, 1 + column, column], b[:, column])
    # Sobol points: one in each eighth.
    assert torch.equal((8 * a).long().sort(0).values, torch.arange(8)[:, None].expand(8, 5))
    assert torch.equal(saltelli(5, 8, seed=3), saltelli(5, 8, seed=3))
    assert not torch.equal(saltelli(5, 8, seed=3), saltelli(5, 8, seed=4))


def test_the_design_with_pairs_exchanges_one_column_at_a_time() -> None:
    plain = saltelli(5, 8, seed=3).reshape(8, 7, 5)
    design = saltelli(5, 8, seed=3, pairs=True).reshape(8, 12, 5)
    assert torch.equal(design[:, :6], plain[:, :6])
    assert torch.equal(design[:, -1], plain[:, -1])
    for column in range(5):
        changed = design[:, 6 + column] != plain[:, -1]
        assert changed.all(0).tolist() == changed.any(0).tolist() == [k == column for k in range(5)]
        assert torch.equal(design[:, 6 + column, column], plain[:, 0, column])


def test_pairs_are_not_known_unless_asked_for() -> None:
    with pytest.raises(ValueError, match="expected indices with pairs=True"):
        _ = sobol_indices(random_outputs(1, 3, 8), 3).paired


@pytest.mark.parametrize("samples", [0, 1, 50])
def test_sobol_points_come_in_powers_of_two(samples: int) -> None:
    with pytest.raises(ValueError, match=f"expected samples to be a power of two, came {samples}"):
        saltelli(3, samples, seed=0)


def random_outputs(count: int, parameters: int, samples: int, pairs: bool = False) -> Tensor:
    """Polynomials with products, in float64."""
    generator = torch.Generator().manual_seed(count)
    design = saltelli(parameters, samples, seed=2, pairs=pairs)
    weights = torch.randn(count, parameters, generator=generator, dtype=torch.float64)
    sums = weights @ design.T
    return sums + 3 * sums.roll(1, 0) * sums + 100


def textbook(outputs: np.ndarray, parameters: int, rows: np.ndarray) -> tuple[list[float], list[float]]:
    """(b) and (f) of Table 2 of [saltelli2010] on some rows, parameter by parameter."""
    standard = (outputs - np.mean(outputs)) / np.std(outputs)
    a, b = standard[:: parameters + 2][rows], standard[parameters + 1 :: parameters + 2][rows]
    variance = np.var(np.concatenate([a, b]))
    first, total = [], []
    for k in range(parameters):
        mixed = standard[k + 1 :: parameters + 2][rows]
        first.append(float(np.mean(b * (mixed - a)) / variance))
        total.append(float(np.mean((a - mixed) ** 2) / 2 / variance))
    return first, total


@pytest.mark.parametrize("chunk", [1, 2**19])
def test_indices_and_their_resamples_by_a_loop(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sobol, "CHUNK", chunk)
    outputs = random_outputs(5, 6, 16)
    rows = torch.randint(16, (7, 16), generator=torch.Generator().manual_seed(0))
    found, again = sobol_indices(outputs, 6), sobol_indices(outputs, 6, resampled(rows))
    assert again.first.shape == again.total.shape == (7, 5, 6)
    for m, one in enumerate(outputs.numpy()):
        first, total = textbook(one, 6, np.arange(16))
        np.testing.assert_allclose(found.first[m], first, rtol=0, atol=1e-12)
        np.testing.assert_allclose(found.total[m], total, rtol=0, atol=1e-12)
        for r, some in enumerate(rows.numpy()):
            first, total = textbook(one, 6, some)
            np.testing.assert_allclose(again.first[r, m], first, rtol=0, atol=1e-10)
            np.testing.assert_allclose(again.total[r, m], total, rtol=0, atol=1e-10)


def test_scipy_says_the_same() -> None:
    outputs = random_outputs(4, 6, 32)
    found = sobol_indices(outputs, 6)
    # SciPy takes the mean over A and B from the outputs; here the mean over all of the design is taken.
    standard = (outputs - outputs.mean(1, keepdim=True)) / outputs.std(1, correction=0, keepdim=True)
    rows = standard.reshape(4, 32, 8)
    shift = (rows[..., 0].mean(1) + rows[..., -1].mean(1)) / 2
    parts = {"f_A": rows[..., 0], "f_B": rows[..., -1], "f_AB": rows[..., 1:-1].movedim(2, 0)}
    theirs = stats.sobol_indices(func={name: part.numpy() for name, part in parts.items()}, n=32)
    np.testing.assert_allclose(found.total, theirs.total_order, rtol=0, atol=1e-12)
    change = (rows[..., 1:-1] - rows[..., :1]).mean(1)
    variance = (rows[..., (0, -1)] - shift[:, None, None]).square().mean((1, 2))
    shifted = theirs.first_order + (shift / variance)[:, None].numpy() * change.numpy()
    np.testing.assert_allclose(found.first, shifted, rtol=0, atol=1e-12)


def test_intervals_cover_the_known_indices() -> None:
    """At their level, or nearly so: the bootstrap knows nothing of how evenly Sobol points lie."""
    known, inside = ishigami_indices(), []
    for seed in range(40):
        outputs = ishigami(saltelli(3, 256, seed))[None]
        found = sobol_indices(outputs, 3)
        again = sobol_indices(outputs, 3, bootstrap(256, 200, torch.Generator().manual_seed(seed)))
        inside.append((found.first - known.first).abs()[0] <= half_width(again.first)[0])
        inside.append((found.total - known.total).abs()[0] <= half_width(again.total)[0])
    assert float(torch.stack(inside).double().mean()) > 0.93


def test_bootstrap_weights_are_counts() -> None:
    rows = torch.tensor([[0, 0, 2], [1, 2, 1]])
    assert (3 * resampled(rows)).round().tolist() == [[2, 0, 1], [0, 2, 1]]
    weights = bootstrap(8, 1000, torch.Generator().manual_seed(0))
    assert weights.sum(1).tolist() == pytest.approx([1] * 1000)
    assert weights.mean(0).tolist() == pytest.approx([1 / 8] * 8, abs=0.01)


@pytest.mark.parametrize(("parameters", "samples"), [(3, 64), (16, 32)])
def test_salib_says_the_same(parameters: int, samples: int) -> None:
    """Design, indices, and intervals from the same resamples."""
    from SALib.analyze import sobol as analysis
    from SALib.sample import sobol as sampling

    names = [f"x{k}" for k in range(parameters)]
    problem = {"num_vars": parameters, "names": names, "bounds": [[0.0, 1.0]] * parameters}
    design = sampling.sample(problem, samples, calc_second_order=False, seed=5)
    np.testing.assert_array_equal(saltelli(parameters, samples, seed=5), design)
    outputs = random_outputs(4, parameters, samples)
    found = sobol_indices(outputs, parameters)
    rows = np.random.default_rng(11).integers(samples, size=(samples, 50))
    again = sobol_indices(outputs, parameters, resampled(torch.from_numpy(rows.T.copy())))
    for m, one in enumerate(outputs.numpy()):
        theirs = analysis.analyze(
            problem, one.copy(), calc_second_order=False, num_resamples=50, keep_resamples=True, seed=11
        )
        np.testing.assert_allclose(found.first[m], theirs["S1"], rtol=0, atol=1e-10)
        np.testing.assert_allclose(found.total[m], theirs["ST"], rtol=0, atol=1e-10)
        np.testing.assert_allclose(again.first[:, m], theirs["S1_conf_all"], rtol=0, atol=1e-10)
        np.testing.assert_allclose(half_width(again.first)[m], theirs["S1_conf"], rtol=0, atol=1e-10)
        np.testing.assert_allclose(half_width(again.total)[m], theirs["ST_conf"], rtol=0, atol=1e-10)


@pytest.mark.parametrize("chunk", [1, 2**18])
def test_salib_says_the_same_of_pairs(chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Design, indices and intervals; theirs are above the diagonal."""
    from SALib.analyze import sobol as analysis
    from SALib.sample import sobol as sampling

    monkeypatch.setattr(sobol, "CHUNK", chunk)
    problem = {"num_vars": 5, "names": list("abcde"), "bounds": [[0.0, 1.0]] * 5}
    design = sampling.sample(problem, 32, calc_second_order=True, seed=5)
    np.testing.assert_array_equal(saltelli(5, 32, seed=5, pairs=True), design)
    outputs = random_outputs(4, 5, 32, pairs=True)
    outputs[3] = 0.1
    rows = np.random.default_rng(11).integers(32, size=(32, 50))
    weights = resampled(torch.from_numpy(rows.T.copy()))
    found = sobol_indices(outputs, 5, pairs=True)
    widths = sobol_half_widths(outputs, 5, weights, pairs=True)
    again = sobol_indices(outputs, 5, weights, pairs=True)
    assert found.second is not None
    assert widths.second is not None
    assert again.second is not None
    torch.testing.assert_close(widths.second, half_width(again.second))
    above = np.triu_indices(5, 1)
    for m, one in enumerate(outputs.numpy()[:3]):
        theirs = analysis.analyze(problem, one.copy(), calc_second_order=True, num_resamples=50, seed=11)
        for kind, key in (("first", "S1"), ("total", "ST")):
            np.testing.assert_allclose(getattr(found, kind)[m], theirs[key], rtol=0, atol=1e-10)
            np.testing.assert_allclose(getattr(widths, kind)[m], theirs[f"{key}_conf"], rtol=0, atol=1e-10)
        for mine, key in ((found.second, "S2"), (widths.second, "S2_conf")):
            np.testing.assert_allclose(mine[m][above], theirs[key][above], rtol=0, atol=1e-10)
    assert torch.equal(found.second, found.second.mT)
    assert not bool(found.second.diagonal(dim1=1, dim2=2).any())
    # Of an output that never changes there is nothing.
    assert not bool(found.second[3].any())
    assert not bool(widths.second[3].any())


def test_intervals_of_pairs_cover_the_known_indices() -> None:
    known, inside = ishigami_indices().second, []
    assert known is not None
    for seed in range(30):
        outputs = ishigami(saltelli(3, 256, seed, pairs=True))[None]
        found = sobol_indices(outputs, 3, pairs=True).second
        weights = bootstrap(256, 200, torch.Generator().manual_seed(seed))
        widths = sobol_half_widths(outputs, 3, weights, pairs=True).second
        assert found is not None
        assert widths is not None
        inside.append((found - known).abs()[0] <= widths[0])
    one, other = torch.triu_indices(3, 3, 1)
    assert float(torch.stack(inside)[:, one, other].double().mean()) > 0.9
