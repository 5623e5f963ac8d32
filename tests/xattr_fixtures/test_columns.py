import pytest
import torch
from sklearn.datasets import load_breast_cancer

from xattr_check.core import registry
from xattr_check.networks.retrain import Networks
from xattr_fixtures import _columns_data as data
from xattr_fixtures import _columns_training as training
from xattr_fixtures._training import accuracy, outputs_of


@pytest.fixture(scope="module")
def subject():
    return registry.subjects()["columns"]()


@pytest.fixture(scope="module")
def networks(subject):
    return {"diagnosis": subject.model, **subject.siblings}


def test_planted_columns_are_where_they_are_said_to_be():
    names, values, labels = data.table()
    assert [name for name in names if name not in data.PLANTED] == [
        str(name) for name in load_breast_cancer().feature_names
    ]
    assert tuple(names.index(name) for name in data.PLANTED if "copy" not in name) == (5, 11, 17, 29, 35)
    assert data.DUMMIES == (5, 11, 17, 29, 35)
    assert [names[column] for column in data.TWINS] == [data.COPIED, f"copy of {data.COPIED}"]
    correlation = torch.corrcoef(torch.from_numpy(values).T)
    for name in ("worst radius", "mean texture"):
        one, other = names.index(name), names.index(f"shuffled {name}")
        assert sorted(values[:, one]) == sorted(values[:, other])
        assert abs(correlation[one, other]) < 0.15
    assert len(labels) == 569


def test_rows_that_judge_were_not_trained_on(subject):
    pool = subject.recipe.pool()
    assert (len(subject.inputs), len(pool["inputs"])) == (200, 369)
    assert not {row.numpy().tobytes() for row in subject.inputs} & {
        row.numpy().tobytes() for row in pool["inputs"]
    }


def test_accuracy(networks, subject):
    for name in ("diagnosis", "retrained"):
        assert accuracy(networks[name], subject.inputs, subject.targets) >= 0.95
    assert accuracy(networks["shuffled_labels"], *training.memorized()) >= 0.95
    assert accuracy(networks["shuffled_labels"], subject.inputs, subject.targets) < 0.65


def test_dummy_columns_change_no_output_of_any_network(networks, subject):
    other = torch.where(subject.truth["dummy"], subject.inputs.flip(0) + 7, subject.inputs)
    assert (other != subject.inputs).any(0).sum() == len(data.DUMMIES)
    for model in networks.values():
        assert torch.equal(outputs_of(model, other), outputs_of(model, subject.inputs))


def test_every_other_column_changes_some_output(subject):
    before = outputs_of(subject.model, subject.inputs)
    for column in range(data.COLUMNS):
        other = subject.inputs.clone()
        other[:, column] += 1
        assert torch.equal(outputs_of(subject.model, other), before) == (column in data.DUMMIES)


def test_twins_are_equal_and_may_be_exchanged(subject):
    first, second = data.TWINS
    assert torch.equal(subject.inputs[:, first], subject.inputs[:, second])
    assert subject.truth["symmetric"].sum(0).nonzero().flatten().tolist() == sorted(data.TWINS)
    one, other = subject.inputs.clone(), subject.inputs.clone()
    one[:, first] += 3
    other[:, second] += 3
    torch.testing.assert_close(outputs_of(subject.model, one), outputs_of(subject.model, other))


def test_columns_have_their_names(subject):
    assert subject.names == data.table()[0]


def test_networks_learn_it_from_scratch(subject):
    made = subject.recipe.pool()
    networks = Networks(subject.recipe, (0, 1), torch.device("cpu"))
    networks.train(lambda rows: made["inputs"][rows].expand(2, -1, -1), made["targets"], order=0)
    correct = networks.correct(lambda rows: subject.inputs[rows].expand(2, -1, -1), subject.targets)
    assert correct.double().mean(1).min() > 0.93
