"""Remove or keep, and retrain: against one network after the other; what is said of right and wrong maps."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from broken_methods import RETRAINING as CODES
from broken_methods import broken
from judging import each, judge, seeds
from recipes import SIDE, columns_of, grid, one_matters, patches, sees_places, subject, tokens_of
from torch import Tensor, nn
from torch.nn import functional

import xattr_check
from xattr_axioms.retraining._retraining import PERCENTAGES, _leaks, select_features
from xattr_check import Store, Subject, UsageError, load_method
from xattr_check.config.selection import select
from xattr_check.core.explainer import Explainer
from xattr_check.core.recipe import Recipe
from xattr_check.core.run import Draw, Run
from xattr_check.networks.retrain import Networks, Retrainable, retrainable
from xattr_check.storage.digest import derive_seed

CHECKS = xattr_check.checks()
RETRAINING = ("roar", "kar")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    """What the controls come to is kept: their networks are trained once."""
    return Store(tmp_path_factory.mktemp("retraining"))


@pytest.fixture
def run(store: Store) -> Run:
    return Run(store=store, budget="standard")


def sign_flipped(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Explains the loss, which falls where the evidence grows."""
    return -load_method("xattr:input_x_gradient")(model, inputs, targets)


def alone(recipe: Recipe, seed: int, order: int, images: Tensor, targets: Tensor) -> nn.Module:
    torch.manual_seed(seed)
    network, generator = recipe.network(), torch.Generator().manual_seed(order)
    optimizer = torch.optim.AdamW(network.parameters(), recipe.rate, weight_decay=0)
    steps = recipe.epochs * len(targets) // recipe.batch
    cycle = torch.optim.lr_scheduler.OneCycleLR(
        optimizer, recipe.rate, steps, pct_start=0.2, cycle_momentum=False
    )
    for _ in range(recipe.epochs):
        for rows in torch.randperm(len(targets), generator=generator).split(recipe.batch):
            optimizer.zero_grad()
            functional.cross_entropy(network(images[rows]), targets[rows]).backward()
            optimizer.step()
            cycle.step()
    return network


def perturbed(check: str, given: Subject, inputs: Tensor, maps: Tensor, percentage: int) -> Tensor:
    """One image and one region after the other."""
    fill, result = given.inputs.mean((0, 2, 3)), inputs.clone()
    for image, own in zip(result, maps.sum(1).numpy(), strict=True):
        order = sorted(range(16), key=lambda region: -own[grid().numpy() == region].mean())
        count = round(16 * percentage / 100)
        gone = order[:count] if check == "roar" else order[count:]
        for region in gone:
            image[:, grid() == region] = fill[:, None]
    return result


@pytest.mark.parametrize("asked", [None, (20, 100, 60)])
@pytest.mark.parametrize("check", RETRAINING)
def test_one_network_after_the_other(check: str, asked: tuple[int, ...] | None, run: Run) -> None:
    made = retrainable(subject(), run)
    draw = next(run.draws(check, made, CHECKS[check].inputs))
    method = load_method("xattr:input_magnitude")  # no ties, which fall at random
    given = {} if asked is None else {"percentages": asked}
    percentages = PERCENTAGES if asked is None else asked
    found = CHECKS[check].measure(Explainer.of(method, made, run), made, draw, **given)
    pool, expected = made.pool, []
    for number, percentage in enumerate(percentages):
        images, judged = (
            perturbed(check, made, inputs, method(made.model, inputs, targets).detach(), percentage)
            for inputs, targets in ((pool.inputs, pool.targets), (draw.inputs, draw.targets))
        )
        seed, order = derive_seed("network", draw.seed, number), derive_seed("order", draw.seed)
        network = alone(made.training, seed, order, images, pool.targets)
        with torch.no_grad():
            expected.append((network(judged).argmax(1) == draw.targets).double())
    # A few near-ties may fall the other way by rounding.
    assert (found.samples - torch.stack(expected).mean(0)).abs().mean() < 0.01
    assert found.evidence["accuracy"].tolist() == pytest.approx(
        [float(one.mean()) for one in expected], abs=0.03
    )
    assert found.evidence["percentage"].tolist() == list(percentages)


def test_percentages_are_joined_in_a_spec() -> None:
    (found,) = select("roar?percentages=30+60", CHECKS, "standard")
    assert (found.name, found.parameters) == ("roar?percentages=30+60", {"percentages": (30, 60)})
    (alone,) = select("roar?percentages=50", CHECKS, "standard")
    assert (alone.name, alone.parameters) == ("roar?percentages=50", {"percentages": (50,)})
    for wrong in ("0+50", "half", "30+-5", "30+", "130"):
        with pytest.raises(UsageError) as raised:
            select(f"roar?percentages={wrong}", CHECKS, "standard")
        assert "percentages to be whole numbers from 1 to 100, joined by +, came" in str(raised.value)
    with pytest.raises(UsageError, match="expected percentages to be different numbers"):
        select("roar?percentages=30+60+30", CHECKS, "standard")


@pytest.mark.parametrize(("check", "seed"), each(*RETRAINING))
def test_right_and_wrong_maps(check: str, seed: int, store: Store) -> None:
    given, run = subject(), Run(store=store, budget="standard", seed=seed)
    right = judge(check, "xattr:input_x_gradient", given, run)
    assert right.status == "pass", str(right)
    for wrong in (sign_flipped, "xattr:random"):
        verdict = judge(check, wrong, given, run)
        assert verdict.status == "fail", str(verdict)
    others = [value for name, value in right.controls.items() if name != "oracle"]
    better = min if check == "roar" else max
    assert better([right.controls["oracle"], *others]) == right.controls["oracle"]


def test_the_place_of_the_fill_tells_nothing_here_but_what_a_map_puts_there(run: Run) -> None:
    """A map that writes the class in its place is found out: the fill alone gives the class away."""

    def telltale(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return (grid() == targets[:, None, None]).float()[:, None]

    made = retrainable(subject(network=sees_places, epochs=20), run)
    draw = next(run.draws("roar", made, 100))
    leaks = {
        name: CHECKS["roar"]
        .measure(Explainer.of(load_method(method), made, run), made, draw)
        .evidence["accuracy_from_the_fill_alone"]
        for name, method in (("telltale", telltale), ("occlusion", "xattr:occlusion"))
    }
    assert leaks["telltale"][0] > 0.9
    assert leaks["occlusion"][0] < 0.6


@pytest.mark.parametrize(("name", "seed"), each(*CODES, slow={"label_code_over_edges"}))
def test_no_pass_is_owed_to_the_pattern_that_is_kept(name: str, seed: int, store: Store) -> None:
    """Networks that see places read the target off which regions are kept, whatever is in them."""
    run = Run(store=store, budget="standard", seed=seed)
    given = subject(network=sees_places, epochs=20)
    for presumed in CHECKS["kar"].presumes:
        assert judge(presumed, broken(name), given, run).status == "pass"
    verdict = judge("kar", broken(name), given, run)
    assert verdict.status == "not_applicable"
    assert (
        "; uninformative, since which regions are kept gives the target away without what is in them: "
        "accuracy from their place alone "
    ) in str(verdict)
    assert str(verdict).endswith(", where chance is 0.40")


@pytest.mark.parametrize("seed", seeds())
def test_a_right_map_passes_where_networks_see_places(seed: int, store: Store) -> None:
    run = Run(store=store, budget="standard", seed=seed)
    verdict = judge("kar", "xattr:input_x_gradient", subject(network=sees_places, epochs=20), run)
    assert verdict.status == "pass", str(verdict)


def test_a_pattern_that_tells_the_target_can_only_harm_what_is_removed(run: Run) -> None:
    verdict = judge("roar", broken("label_code"), subject(network=sees_places, epochs=20), run)
    assert verdict.status == "fail", str(verdict)


@pytest.mark.parametrize(
    ("known", "kept", "told"),
    [
        (0.99, 0.99, True),
        (0.5, 0.6, True),  # edges and half of a code
        (0.34, 0.9, False),  # the outline of the object, as of a right map
        (0.14, 0.15, False),  # chance
        (0.1, 0.1, False),
    ],
)
def test_the_pattern_counts_where_it_gives_most_of_what_is_recognised(
    known: float, kept: float, told: bool
) -> None:
    rows = (torch.arange(100) < round(100 * known)).expand(5, 100)
    assert bool(_leaks(rows, torch.full((5,), kept), 0.1)) == told


def test_what_a_verdict_says(run: Run) -> None:
    verdict = judge("roar", sign_flipped, subject(), run)
    assert str(verdict).startswith("roar: ")
    assert "than control 'random' (gate 15 % of the way below every control, here " in str(verdict)
    assert "at 10, 30, 50, 70, 90 %, " in str(verdict)
    assert str(verdict).endswith("from the place of the fill alone")


def test_edges_find_the_digits_but_no_pass_of_roar_is_theirs(run: Run) -> None:
    """Whatever a map without a model ranks first, a pass presumes that it depends on the model."""
    assert CHECKS["roar"].presumes == CHECKS["kar"].presumes == ("depends_on_input", "depends_on_model")

    def mask(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return (inputs > 1.5).any(1, keepdim=True).to(inputs)

    verdict = judge("roar", mask, subject(), run)
    assert verdict.status == "not_applicable"
    assert "uninformative, since depends_on_model, which it presumes, fails" in str(verdict)


def test_random_networks_are_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = Run(store=Store(tmp_path), budget="standard")
    trained: list[int] = []
    train = Networks.train

    def counted(self: object, *arguments: object, **options: object) -> None:
        trained.append(1)
        train(self, *arguments, **options)

    monkeypatch.setattr(Networks, "train", counted)
    given = subject()
    judge("roar", "xattr:input_x_gradient", given, run)
    first = len(trained)
    judge("roar", sign_flipped, given, Run(store=run.store, budget="standard"))
    # On whole inputs, the method's, on the fill alone, two controls'; then the second's and on its fill.
    assert (first, len(trained) - first) == (5, 2)


def test_a_recipe_that_learns_nothing(run: Run) -> None:
    verdict = judge("roar", "xattr:gradient", subject(epochs=1, rate=1e-6), run)
    assert verdict.status == "not_applicable"
    assert "a network trained on whole inputs is right on 0." in str(verdict)
    assert str(verdict).endswith(
        "there is little to lose; give the subject's recipe more epochs or a larger pool"
    )


def test_without_a_recipe(run: Run) -> None:
    verdict = judge("kar", "xattr:gradient", replace(subject(), recipe=None), run)
    assert verdict.status == "not_applicable"
    assert str(verdict) == "kar: needs recipe, which subject 'patches' does not offer"


def test_a_pool_with_inputs_that_judge(run: Run) -> None:
    verdict = judge("kar", "xattr:gradient", subject(pool=lambda: patches(200, 1)), run)
    assert verdict.status == "invalid"
    assert str(verdict) == (
        "kar: 200 of the inputs that judge are in the recipe's pool, which may hold none; "
        "the check says nothing about 'patches'"
    )


def test_an_oracle_that_does_not_know_makes_it_invalid(run: Run) -> None:
    given = subject()
    truth = {"mask": given.truth["mask"].roll(SIDE // 2, -1)}

    def pool() -> dict[str, Tensor]:
        own = patches(160, 0)
        return {**own, "mask": own["mask"].roll(SIDE // 2, -1)}

    astray = replace(given, truth=truth, recipe=replace(given.recipe, pool=pool))
    verdict = judge("roar", "xattr:input_x_gradient", astray, run)
    assert verdict.status == "invalid"
    assert "the control 'oracle', which knows the truth, does not beat 'random'" in str(verdict)


def test_regions_are_removed_whole_and_best_first() -> None:
    regions = torch.tensor([0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    scores = torch.tensor([[5.0, 5, 0, 9, 1, 1, 3, 3, 2, 2], [0, 0, 1, 1, 2, 2, 3, 3, 4, 4]]).double()
    best = select_features(scores, regions, torch.Generator().manual_seed(0), best=True)
    assert best.shape == (5, 2, 10)
    # 10, 30, 50, 70 and 90 % of five regions, rounded to even: 0, 2, 2, 4 and 4.
    assert best[:, 0, ::2].sum(1).tolist() == [0, 2, 2, 4, 4]
    assert torch.equal(best[..., ::2], best[..., 1::2])
    assert best[1, 0, ::2].tolist() == [True, True, False, False, False]  # means of 5 and 4.5
    assert best[1, 1, ::2].tolist() == [False, False, False, True, True]
    assert torch.equal(select_features(scores, regions, torch.Generator().manual_seed(0), best=False), ~best)


@pytest.mark.parametrize("make", [columns_of, tokens_of])
@pytest.mark.parametrize("check", RETRAINING)
def test_columns_and_tokens(check: str, make: Callable[[int, int], dict[str, Tensor]], run: Run) -> None:
    """One column of ten matters: a map that says so passes, one that ranks it last fails."""
    given = one_matters(make)
    gradient = load_method("xattr:gradient")

    def last(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        return -gradient(model, inputs, targets).abs()

    assert judge(check, gradient, given, run).status == "pass"
    assert judge(check, last, given, run).status == "fail"


def test_the_mean_stands_where_a_region_is_removed(run: Run) -> None:
    """A network that is shown everything but the patch is at chance: the fill tells nothing."""
    made = retrainable(subject(), run)
    assert isinstance(made, Retrainable)
    draw: Draw = next(run.draws("kar", made, 100))
    found = CHECKS["kar"].measure(Explainer.of(load_method(sign_flipped), made, run), made, draw)
    assert (found.evidence["accuracy"] < 0.6).all()
