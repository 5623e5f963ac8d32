import pytest
import torch

from xattr_check.core import registry
from xattr_check.core.context import rows
from xattr_fixtures import _reviews_data as data
from xattr_fixtures import _reviews_training as training
from xattr_fixtures._reviews_networks import RecurrentNetwork, TransformerNetwork
from xattr_fixtures._reviews_words import WORDS
from xattr_fixtures._training import accuracy, outputs_of
from xattr_fixtures._weights import loaded
from xattr_fixtures.reviews import load_network


@pytest.fixture(scope="module")
def reviews():
    return data.battery_reviews()


@pytest.fixture(scope="module", params=[("lstm", RecurrentNetwork), ("transformer", TransformerNetwork)])
def network(request):
    name, kind = request.param
    return loaded(kind(), f"reviews_{name}")


def probability(network, ids, targets):
    return float(outputs_of(network, ids).softmax(1).gather(1, targets[:, None]).mean())


def test_texts_are_of_many_words_and_lengths(reviews):
    assert 300 <= len(data.vocabulary()) <= 500
    assert data.vocabulary()[: data.UNKNOWN + 1] == ("<pad>", "<unk>")
    lengths = (reviews.ids != data.PADDING).sum(1)
    assert lengths.unique().numel() > 25
    assert lengths.max() <= data.LENGTH
    after = torch.arange(data.LENGTH) >= lengths[:, None]
    assert torch.equal(reviews.ids == data.PADDING, after)
    assert not (reviews.masks & after).any()


def test_the_label_follows_from_the_words_of_the_mask(reviews):
    for ids, mask, label in zip(reviews.ids, reviews.masks, reviews.labels.tolist(), strict=True):
        writer, *negation, adjective = data.spelled(ids[mask]).split()
        assert writer in WORDS["writer"]
        assert not negation or negation[0] in WORDS["negation"]
        assert (adjective in WORDS["praise"]) == ((label == data.POSITIVE) != bool(negation))


def test_one_word_does_not_give_the_label_away(reviews):
    """Others praise and blame as well, and the writer is mentioned elsewhere."""
    words = [set(data.spelled(ids).split()) for ids in reviews.ids]
    both = [bool(text & set(WORDS["praise"])) and bool(text & set(WORDS["blame"])) for text in words]
    assert 0.2 < sum(both) / len(both) < 0.5
    elsewhere = torch.tensor([data.vocabulary().index(word) for word in WORDS["writer"]])
    assert (torch.isin(reviews.ids, elsewhere) & ~reviews.masks).any(1).float().mean() > 0.4


def test_accuracy(network, reviews):
    assert accuracy(network, reviews.ids, reviews.labels) >= 0.95
    assert sum(parameter.numel() for parameter in network.parameters()) < 60_000


@pytest.mark.parametrize("name", ["reviews", "reviews_transformer"])
def test_siblings_learned_the_same_or_by_heart(name, reviews):
    siblings = registry.subjects()[name]().siblings
    asked = torch.arange(len(reviews.ids))
    with rows(asked), torch.no_grad():
        found = {one: model(reviews.ids).argmax(1) == reviews.labels for one, model in siblings.items()}
    assert found["retrained"].float().mean() >= 0.95
    assert found["shuffled_labels"].float().mean() < 0.45
    name = name.removeprefix("reviews").removeprefix("_") or "lstm"
    assert accuracy(load_network(f"{name}_shuffled_labels"), *training.memorized()) >= 0.95


def test_the_words_of_the_mask_decide(network, reviews):
    kept = reviews.ids.where(reviews.masks | (reviews.ids == data.PADDING), data.UNKNOWN)
    gone = reviews.ids.where(~reviews.masks, data.UNKNOWN)
    assert probability(network, kept, reviews.labels) > 0.9
    assert probability(network, gone, reviews.labels) < 0.1


def test_padding_changes_nothing(network, reviews):
    short = reviews.ids[(reviews.ids != data.PADDING).sum(1) <= 40]
    torch.testing.assert_close(outputs_of(network, short), outputs_of(network, short[:, :40]))


@pytest.mark.parametrize("name", ["reviews", "reviews_transformer"])
def test_the_subject_replaces_words_as_ids_are(name, reviews):
    """Embedded, and with what stands for no word put in, the model computes what it does with `<unk>`."""
    subject, some = registry.subjects()[name](), torch.arange(16)
    assert torch.equal(subject.valid, reviews.ids != data.PADDING)
    assert torch.equal(subject.truth["mask"][..., 0], reviews.masks)
    inputs = subject.inputs[some]
    gone = torch.where(subject.truth["mask"][some], subject.without_words(inputs, some), inputs)
    with rows(some), torch.no_grad():
        found = subject.model(gone)
        torch.testing.assert_close(found, subject.model(reviews.ids[some].where(~reviews.masks[some], 1)))
    assert not torch.allclose(found, subject.outputs_of_all()[some])
