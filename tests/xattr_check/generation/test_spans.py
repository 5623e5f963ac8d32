"""Spans of tokens as features: where they may lie, what they may say, and what certified ones do."""

import itertools
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch
from features import same
from judging import judge
from topics import PADDING, UNKNOWN, VOCABULARY, topics
from torch import Tensor, nn

from xattr_check import Store, Subject, UsageError
from xattr_check.core.context import IDS
from xattr_check.core.run import Run
from xattr_check.generation import blocks, exchange, optimisation
from xattr_check.generation import subjects as module
from xattr_check.generation.blocks import take
from xattr_check.generation.certify import DRAWS, MEDIAN, NINETIETH, SOFTMAX, Outcome
from xattr_check.generation.exchange import Exchange
from xattr_check.generation.export import tensors
from xattr_check.generation.generator import Maker
from xattr_check.generation.objectives import ratios
from xattr_check.generation.plan import Plan
from xattr_check.generation.samples import Samples
from xattr_check.generation.scenarios import scenario
from xattr_check.generation.spans import Reader, Spans
from xattr_check.generation.subjects import make_subject, pack
from xattr_check.storage.digest import digest

FIRST, LAST = 20, 21  # what each text begins and ends with


class Counts(nn.Module):
    """What the words of a text add up to: ids (N, T) to (N, 3), padding left out."""

    def __init__(self, padding: int | None = 0) -> None:
        super().__init__()
        self.embedding = nn.Embedding(22, 3, padding_idx=padding)
        with torch.no_grad():
            self.embedding.weight.copy_(
                torch.randn(22, 3, generator=torch.Generator().manual_seed(1)).double()
            )

    def forward(self, ids: Tensor) -> Tensor:
        found: Tensor = self.embedding(ids).sum(1)
        return found


def marked(*, behind: bool = True, count: int = 12, model: Counts | None = None) -> Subject:
    """Texts of 6 to 10 words between two marks, with padding behind them, or before."""
    generator = torch.Generator().manual_seed(0)
    ids = torch.zeros(count, 14, dtype=torch.int64)
    for row in range(count):
        words = torch.randint(2, 18, (6 + row % 5,), generator=generator)
        text = torch.tensor([FIRST, *words.tolist(), LAST])
        ids[row, slice(0, len(text)) if behind else slice(14 - len(text), 14)] = text
    ids[0, 3 if behind else 8] = 1  # what stands for no word, in a text
    targets = torch.arange(count) % 3
    return Subject("marked", model or Counts(), ids, targets, embedding="embedding", absence=1, padding=0)


@pytest.mark.parametrize("behind", [True, False])
def test_spans_lie_on_words_alone(behind: bool) -> None:
    subject = marked(behind=behind)
    geometry = Spans.of(subject)
    ids = subject.context[IDS]
    # Half of them have 7 words at the most.
    lengths = (ids != 0).sum(1) - 2
    assert geometry.rows.tolist() == [row for row in range(12) if lengths[row] >= 7]
    assert (geometry.first, geometry.length) == ((1, 7) if behind else (6, 7))
    places = geometry.place(200, 2, 3, torch.Generator().manual_seed(0))
    for one in places.squeeze(2).tolist():
        assert abs(one[0] - one[1]) >= 3
        for start in one:
            for row in geometry.rows.tolist():
                assert not set(ids[row, start : start + 3].tolist()) & {0, FIRST, LAST}
    assert {start - geometry.first for start in places.flatten().tolist()} == {0, 1, 3, 4}


def test_what_a_span_may_say_are_words_of_the_texts() -> None:
    subject = marked()
    words = set(subject.context[IDS].flatten().tolist()) - {0, 1, FIRST, LAST}
    geometry = Spans.of(subject)
    assert geometry.words.tolist() == sorted(words)
    assert set(geometry.drawn.tolist()) == words
    pieces = torch.tensor([[0, 1, FIRST], [LAST, min(words), max(words)]])
    made = geometry.shares(pieces, pieces, pieces)
    assert set(made.flatten().tolist()) <= words
    assert made[1, 1:].tolist() == [min(words), max(words)]
    assert torch.equal(geometry.values(made, pieces, pieces), made)


def test_of_few_texts_a_common_word_is_no_mark() -> None:
    assert FIRST in Spans.of(marked(count=6)).words


def test_paste_cut_and_mask_by_slices() -> None:
    subject = marked()
    geometry, ids = Spans.of(subject), subject.context[IDS]
    places = torch.arange(12)[:, None]
    patches = torch.arange(24).reshape(12, 2)
    expected, mask = ids.clone(), torch.zeros(12, 14, 1, dtype=torch.bool)
    for row in range(12):
        assert torch.equal(geometry.cut(ids, places, 2)[row], ids[row, row : row + 2])
        expected[row, row : row + 2] = patches[row]
        mask[row, row : row + 2] = True
    assert torch.equal(geometry.paste(ids, patches, places), expected)
    assert torch.equal(geometry.mask(places, 2), mask)


@pytest.mark.parametrize("width", [0.0, 0.25, 1.0])
def test_noise_draws_a_share_of_the_words(width: float) -> None:
    geometry = Spans.of(subject := marked())
    nothing = torch.zeros(1)
    found = geometry.noise(subject.context[IDS], nothing, nothing, width, 500, torch.Generator())
    longer = subject.context[IDS][geometry.rows]
    templates = {tuple(row) for row in (longer * (longer >= 20) + (longer == 0) * -1).tolist()}
    assert {tuple(row) for row in (found * (found >= 20) + (found == 0) * -1).tolist()} == templates
    between = found[(found != 0) & (found < 20)]
    assert float((between != 1).double().mean()) == pytest.approx(width, abs=0.05)
    assert set(between.tolist()) <= {1, *geometry.words.tolist()}


@pytest.mark.parametrize("quiet", [0, 9, 16])
@torch.no_grad()
def test_words_that_say_something_alone_are_not_drawn(quiet: int) -> None:
    """By hand, in a model that adds words up; where too few are quiet, the quietest quarter of them is."""
    model = Counts()
    vectors = model.embedding.weight
    vectors[2 : 2 + quiet] = vectors[1] + vectors[2 : 2 + quiet] / 100
    geometry = Spans.of(subject := marked(model=model))
    moved = (vectors[geometry.words] - vectors[1]).abs().amax(1)
    allowed = 0.1 * model(subject.context[IDS]).std(0, correction=0).mean()
    expected = geometry.words[moved <= max(float(allowed), float(moved.quantile(0.25)))]
    assert geometry.quiet.unique().tolist() == expected.tolist()
    assert quiet - 1 <= len(expected) < max(quiet, 4) + 2
    assert len(geometry.quiet) == sum((geometry.drawn == word).sum() for word in expected)
    nothing = torch.zeros(1)
    noisy = geometry.noise(subject.context[IDS], nothing, nothing, 1.0, 200, torch.Generator())
    assert set(noisy[(noisy != 0) & (noisy < FIRST)].tolist()) == set(expected.tolist())


def test_where_nothing_stands_for_no_word_all_are_drawn() -> None:
    ids = torch.randint(2, 18, (12, 9), generator=torch.Generator().manual_seed(0))
    subject = Subject("bare", Counts(None), ids, torch.arange(12) % 3, embedding="embedding")
    geometry = Spans.of(subject)
    found = geometry.noise(ids, ids, ids, 0.1, 50, torch.Generator())
    assert set(found.flatten().tolist()) == set(ids.flatten().tolist())


def test_a_reference_of_vectors_is_none_for_ids() -> None:
    given = replace(topics(), reference=lambda count, generator: torch.zeros(count, 32, 16))
    assert Plan.of(given, scenario("null")).reference == "noise"
    with pytest.raises(UsageError, match="'topics': has no reference of its own; choose noise or inputs"):
        Plan.of(given, scenario("null"), reference="subject")


def test_texts_without_a_place_in_common() -> None:
    ids = torch.zeros(12, 12, dtype=torch.int64)
    for row in range(12):
        ids[row, row % 3 * 4 : row % 3 * 4 + 4] = torch.arange(2, 6) + row
    subject = Subject("apart", Counts(), ids, torch.arange(12) % 3, embedding="embedding")
    with pytest.raises(UsageError) as raised:
        Spans.of(subject)
    assert str(raised.value) == (
        "subject 'apart': texts have words in no place in common; let them all begin, or all end, at the "
        "same place"
    )


def test_a_reader_reads_each_text_once() -> None:
    subject = marked()
    reader = Reader(subject.model)  # type: ignore[arg-type]
    ids, counts = subject.context[IDS][[0, 1, 0, 0, 2, 1]], []
    handle = subject.model.embedding.register_forward_hook(  # type: ignore[union-attr]
        lambda module, inputs, output: counts.append(len(inputs[0]))
    )
    with torch.no_grad():
        found = reader(ids)
    handle.remove()
    assert set(counts) == {3}
    torch.testing.assert_close(found, Counts()(ids))
    assert not reader.shown
    reader(ids)[:, 0].sum().backward()
    assert reader.shown[0].grad is not None
    assert reader.shown[0].shape == (6, 14, 3)


# Certified features of texts of many topics.


@pytest.fixture(autouse=True, scope="module")
def _small() -> Iterator[None]:
    """Blocks of a few samples, which are enough."""
    with pytest.MonkeyPatch.context() as patch:
        for where in (blocks, optimisation, module):
            patch.setattr(where, "BLOCK", 3)
        patch.setattr(module, "LEAST", 2)
        yield


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    return Store(tmp_path_factory.mktemp("spans"))


def maker(store: Store, kind: str = "null", **options: object) -> Maker:
    return Maker(topics(), Plan.of(topics(), scenario(kind), **options), Run(store))  # type: ignore[arg-type]


def made(store: Store, kind: str = "null") -> tuple[Maker, Samples]:
    found = maker(store, kind)
    return found, take(found, 1).samples


@pytest.mark.parametrize("kind", ["null", "double", "single"])
def test_what_is_certified_holds_by_brute_force(kind: str, store: Store) -> None:
    own, samples = made(store, kind)
    plan, side = own.plan.scenario, own.plan.side
    model = topics().model
    assert len(samples) >= 2
    assert samples.patches.dtype == torch.int64
    assert samples.patches.shape[1:] == (plan.features, side)
    assert not torch.isin(samples.patches, torch.tensor([PADDING, UNKNOWN])).any()
    references, places = own.draw(samples.draws, DRAWS)
    for row, classes in enumerate(samples.classes.tolist()):
        logits = torch.zeros(DRAWS, plan.coalitions, 6)
        for draw, coalition in itertools.product(range(DRAWS), range(plan.coalitions)):
            one = references[row, draw].clone()
            for feature in range(plan.features):
                if coalition >> feature & 1:
                    start = int(places[row, draw, feature, 0])
                    assert not (one[start : start + side] == PADDING).any()
                    one[start : start + side] = samples.patches[row, feature]
            with torch.no_grad():
                logits[draw, coalition] = model(one[None])[0]
        alone = [logits[:, 1 << f, classes[m]] - logits[:, 0, classes[m]] for f, m in enumerate(plan.makes)]
        effect = torch.stack([alone[feature] for feature in plan.contributing]).amin(0)
        for change in plan.changes:
            target = classes[change.output]
            found = (logits[:, change.larger, target] - logits[:, change.smaller, target]).abs() / effect
            assert float(found.quantile(0.5)) <= MEDIAN + 1e-4
            assert float(found.quantile(0.9)) <= NINETIETH + 1e-4
        for feature, number in enumerate(plan.makes):
            chance = logits[:, 1 << feature].softmax(1)[:, classes[number]]
            assert float(chance.sort().values[3]) >= SOFTMAX - 1e-4


def moved(block: Exchange, shown: exchange.Shown, towards: tuple[int, int, int, int], size: float) -> float:
    """What is foretold here, where the vector of one token of one span goes a part of the way to a word's.

    shown: of one sample. towards: the feature, the token of its span, the word and the sample.
    """
    reader, (feature, place, word) = block._reader, towards[:3]
    span, start = shown[0][0, feature], int(shown[3][0, 0, feature, 0])
    embed = reader.model.xattr_embed

    def part_of_the_way(ids: Tensor) -> Tensor:
        found = embed(ids)
        has = (ids[:, start : start + len(span)] == span).all(1)
        found[has, start + place] += size * (embed(block._spans.words[word]) - embed(span[place]))
        return found

    reader.model.xattr_embed = part_of_the_way  # type: ignore[method-assign]
    with torch.enable_grad():  # where each text is read by itself
        found = foretold(block.maker.stage.outcome(*shown))[0].item()
    del reader.model.xattr_embed
    return found


def foretold(outcome: Outcome) -> tuple[Tensor, Tensor]:
    """A loss of every part of an outcome, (n,), with averages that nobody asks for."""
    loss = outcome.own.sum((1, 2)) + outcome.change.square().sum((1, 2)) - 2 * outcome.whole.sum(1)
    return loss, loss.detach()[:, None]


def test_what_is_foretold_is_the_first_order(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """By brute force: differences along the way from one word to another, in all coalitions at once."""
    block = Exchange(maker(store, "double"), 0)
    monkeypatch.setattr(block, "_loss", foretold)
    references, places = block.maker.draw(block._seeds("step", torch.arange(3)), 2)
    shown = block._made(), block.classes, references, places
    gains = block._gains(shown, block.objective.variants(block.plan.scenario))
    assert gains.shape == (3, 2, 12, len(block._spans.words))
    for towards in [(0, 0, 3, 0), (1, 4, 60, 1), (0, 11, 90, 2)]:
        feature, place, word, row = towards
        one = (shown[0][[row]], shown[1][[row]], shown[2][[row]], shown[3][[row]])
        more, less = (moved(block, one, towards, size) for size in (0.003, -0.003))
        assert gains[row, feature, place, word].item() == pytest.approx(
            (more - less) / 0.006, rel=0.03, abs=0.05
        )


def test_a_step_never_makes_a_sample_worse(store: Store) -> None:
    block = Exchange(maker(store), 0)
    before = block._made().clone()
    block.advance()
    after = block._made()
    kind = block.plan.scenario
    assert (before != after).flatten(1).any(1).all()
    assert block.averages is not None
    figures = block.objective.figures(block.averages, kind)
    block.step = 0
    references, places = block.maker.draw(block._seeds("step", torch.arange(3)), exchange.DRAWS_A_STEP)
    with torch.no_grad():
        far = [
            ratios(
                block.objective.figures(
                    block._loss(block.maker.stage.outcome(spans, block.classes, references, places))[1], kind
                ),
                kind,
            ).sum(1)
            for spans in (before, after)
        ]
    assert (far[1] < far[0]).all()
    torch.testing.assert_close(ratios(figures, kind).sum(1), far[1])


def test_no_sample_depends_on_another(store: Store) -> None:
    whole, alone = Exchange(maker(store), 0), Exchange(maker(store), 0)
    alone.active[1:] = False
    for _ in range(3):
        whole.advance()
        alone.advance()
    assert torch.equal(whole._made()[0], alone._made()[0])


def test_a_snapshot_holds_all_that_matters(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xattr_check.generation.prior.Words.attempt", 4)
    monkeypatch.setattr("xattr_check.generation.optimisation.PROMISING", 0.0)
    one, two = Exchange(maker(store, "double"), 0), Exchange(maker(store, "double"), 0)
    for _ in range(6):
        one.advance()
    assert int(one.attempt.max()) or int(one.longer.max())
    store.write("snapshot", {"some": "spans"}, one.state())
    saved = store.read("snapshot", {"some": "spans"})
    assert saved is not None
    two.load(saved)
    for block in (one, two):
        for _ in range(3):
            block.advance()
    assert digest(one.state()) == digest(two.state())


def test_samples_are_whole_numbers_through_and_through(store: Store) -> None:
    own, samples = made(store)
    packed = pack(own, samples)
    assert packed["patches"].dtype == torch.int32
    same(Samples.of(packed), samples)
    exported = tensors(own, samples)
    assert exported["composite"].dtype == torch.int64
    assert exported["composite"].shape == (3, 32)


def test_the_subject_reads_its_own_texts(store: Store) -> None:
    own, samples = made(store)
    subject = make_subject(topics(), own, samples)
    texts = subject.context[IDS]
    assert texts.shape == (3, 32)
    assert subject.layout.name == "tokens"
    assert torch.equal(subject.valid if subject.valid is not None else texts != 0, texts != PADDING)
    with torch.no_grad():
        expected = topics().model(texts)
        torch.testing.assert_close(subject.model(subject.inputs, ids=texts), expected)
    torch.testing.assert_close(subject.outputs_of_all(), expected)
    names = torch.where(subject.truth["mask_a"].squeeze(2), texts, -1)
    assert [[one for one in row if one >= 0] for row in names.tolist()] == samples.patches[:, 0].tolist()


def test_methods_that_add_up_leave_null_features_out(store: Store) -> None:
    own, samples = made(store)
    shipping = replace(topics(), generated={"null": pack(own, samples)})
    right = judge("null_feature", "xattr:integrated_gradients", shipping, Run(store))
    assert right.controls["oracle"] == 0
    assert right.controls["random"] > 0.25
    assert right.interval is not None
    assert right.interval.value < 0.1


def test_the_vocabulary_is_that_of_the_texts() -> None:
    assert len(Spans.of(topics()).words) <= VOCABULARY - 2


def test_what_stands_for_no_word_is_asked_for_where_it_is_not_told() -> None:
    geometry = Spans.of(marked())
    assert geometry.remedy == ""
    assert replace(geometry, absence=None).remedy.startswith("absence=ID")
