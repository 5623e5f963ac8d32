"""An evaluator comes to the distribution of the target given what is shown, where that is known."""

from collections.abc import Callable
from itertools import product
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from xattr_check import Store, Subject
from xattr_check.core.recipe import Recipe
from xattr_check.core.run import Run
from xattr_check.core.units import Units
from xattr_check.networks.evaluator import evaluator
from xattr_check.networks.retrain import Networks, Retrainable, retrainable
from xattr_check.perturbation.fills import mean_fill

# Of 200 rows: the first column, the target, and how many have both.
COUNTS = {(1.0, 1): 72, (1.0, 0): 8, (-1.0, 1): 12, (-1.0, 0): 108}
PRIOR = 84 / 200


def rows() -> dict[str, Tensor]:
    """The target goes with the first of three columns, and the others, which are ±1 too, with nothing."""
    inputs, targets = [], []
    for (first, target), count in COUNTS.items():
        for others in product((1.0, -1.0), repeat=2):
            inputs += [[first, *others]] * (count // 4)
            targets += [target] * (count // 4)
    return {"inputs": torch.tensor(inputs, dtype=torch.float64), "targets": torch.tensor(targets)}


def network() -> nn.Module:
    return nn.Sequential(nn.Linear(3, 16), nn.Tanh(), nn.Linear(16, 2)).double()


def known(epochs: int = 40) -> Subject:
    made = rows()
    made["inputs"] = made["inputs"] * 1.001  # inputs that judge are in no pool
    recipe = Recipe(network, rows, epochs=epochs, batch=50, rate=2e-2)
    return Subject("known", network(), **made, recipe=recipe)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(store=Store(tmp_path))


def asked(subject: Subject, run: Run) -> Callable[[Tensor], Tensor]:
    made = retrainable(subject, run)
    assert isinstance(made, Retrainable)
    fill = mean_fill(made, made.inputs[:1])[0]
    found = evaluator(made, Units.of(made, "regions"), fill, run)

    def probability(given: Tensor) -> Tensor:
        """(n,) of the second class, for rows (n, 3) with NaN where a column is not shown."""
        return torch.as_tensor(found(torch.where(given.isnan(), fill, given)).softmax(1)[:, 1])

    return probability


def test_what_is_shown_gives_the_posterior_and_what_is_not_the_prior(run: Run) -> None:
    probability = asked(known(), run)
    nan = float("nan")
    shown = {(1.0, nan, nan): 0.9, (-1.0, nan, nan): 0.1, (1.0, 1.0, -1.0): 0.9, (-1.0, nan, 1.0): 0.1}
    others = [(nan, *pair) for pair in product((1.0, -1.0, nan), repeat=2)]
    shown |= dict.fromkeys(others, PRIOR)
    found = probability(torch.tensor(list(shown), dtype=torch.float64))
    assert found.dtype == torch.float64
    assert found.tolist() == pytest.approx(list(shown.values()), abs=0.06)


def test_it_is_trained_once(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    subject, inputs = known(epochs=1), rows()["inputs"]
    first = asked(subject, run)(inputs)
    monkeypatch.setattr(Networks, "train", None)  # whoever trains again fails
    assert torch.equal(asked(subject, run)(inputs), first)
    assert torch.equal(asked(subject, Run(store=run.store))(inputs), first)


def test_another_seed_is_another_network(run: Run) -> None:
    subject, inputs = known(epochs=1), rows()["inputs"]
    other = Run(store=run.store, seed=1)
    assert not torch.equal(asked(subject, run)(inputs), asked(subject, other)(inputs))


def test_statistics_of_a_norm_are_kept_with_it(run: Run) -> None:
    def normed() -> nn.Module:
        return nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2)).double()

    recipe = Recipe(normed, rows, epochs=1, batch=50, rate=2e-2)
    made = rows()
    subject = Subject("normed", normed().eval(), made["inputs"] * 1.001, made["targets"], recipe=recipe)
    first = asked(subject, run)(made["inputs"])
    assert torch.equal(asked(subject, Run(store=run.store))(made["inputs"]), first)
    assert torch.equal(asked(subject, run)(made["inputs"][:1]), first[:1])
