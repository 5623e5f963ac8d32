"""No input is ever given the other inputs of another one, whatever a check or a method does to a batch."""

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import xattr_check
from xattr_check import Subject, run_battery
from xattr_check.core.context import current, rows
from xattr_check.core.method import as_method
from xattr_check.errors import ContextError, SubjectError

COUNT, WORDS, LENGTH = 40, 12, 6
MISMATCHES: list[int] = []


class Tagged(nn.Module):
    """Reads words, and compares the tag of each text, its last id, with the one that came as context.

    The tag is padding, and so nothing changes it but noise.
    """

    def __init__(self) -> None:
        super().__init__()
        self.words = nn.Embedding(WORDS + COUNT, 16)
        self.first, self.relu, self.last = nn.Linear(16, 12), nn.ReLU(), nn.Linear(12, 3)

    def forward(self, input_ids: Tensor, *, attention_mask: Tensor, tag: Tensor) -> Tensor:
        embedded = self.words(input_ids)
        own = embedded[:, -1].detach() - embedded[:, -1].detach().mean(1, keepdim=True)
        known = own.norm(dim=1) > 1e-3  # a check may leave out any place of a copy
        read = (own @ self.words.weight[WORDS:].detach().T).abs().argmax(1)
        MISMATCHES.extend((known & (read != tag.long())).nonzero().flatten().tolist())
        kept = embedded * attention_mask[..., None]
        found: Tensor = self.last(self.relu(self.first(kept)).mean(1)) + 0.1 * tag[:, None].cos()
        return found


@pytest.fixture
def tagged() -> Subject:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Tagged()
        with torch.no_grad():  # tags at right angles to one another, as far as there is room
            model.words.weight[WORDS:] = nn.functional.normalize(torch.randn(COUNT, 16), dim=1) * 4
            model.words.weight[WORDS:] -= model.words.weight[WORDS:].mean(1, keepdim=True)
        ids = torch.randint(WORDS, (COUNT, LENGTH))
        ids[:, -1] = WORDS + torch.arange(COUNT)
        mask = torch.ones_like(ids)
        mask[:, -1] = 0
        mask[::2, -2] = 0
        targets = torch.randint(3, (COUNT,))
        context = {"attention_mask": mask, "tag": torch.arange(COUNT).float()}
        made = Subject("tagged", model, ids, targets, context=context, embedding="words", absence=0)
    MISMATCHES.clear()  # of those that are made to see whether the model uses its context
    return made


def shuffling(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Input × gradient, of a batch that is turned round and repeated."""
    leaves = inputs.flip(0).repeat(2, 1, 1).requires_grad_()
    model(leaves).gather(1, targets.flip(0).repeat(2)[:, None]).sum().backward()
    return (leaves.grad * leaves)[: len(inputs)].flip(0).detach()


def by_ids(model: nn.Module, ids: Tensor, targets: Tensor, embedding: nn.Module) -> Tensor:
    """The same, as one who explains models of transformers writes it."""
    leaves = embedding(ids).detach().requires_grad_()
    outputs = model(inputs_embeds=leaves)
    (slopes,) = torch.autograd.grad(outputs.gather(1, targets[:, None]).sum(), leaves)
    return (slopes * leaves).sum(2).detach()


def with_context(model: nn.Module, inputs: Tensor, targets: Tensor, context: dict[str, Tensor]) -> Tensor:
    """The same, of a batch whose other inputs it is given."""
    order = torch.randperm(len(inputs))
    leaves = inputs[order].requires_grad_()
    outputs = model(leaves, **{name: table[order] for name, table in context.items()})
    (slopes,) = torch.autograd.grad(outputs.gather(1, targets[order][:, None]).sum(), leaves)
    return (slopes * leaves)[order.argsort()].detach()


WRITTEN = {"plain": shuffling, "ids": by_ids, "context": with_context}
REFERENCE = (
    "occlusion",
    "integrated_gradients?steps=3",
    "smoothgrad?samples=2",
    "rise?masks=16",
    "lime?samples=16",
)


@pytest.mark.parametrize(
    "method", [*WRITTEN, *(pytest.param(one, marks=pytest.mark.slow) for one in REFERENCE)]
)
def test_rows_follow_their_inputs_through_every_check(method: str, tagged: Subject, tmp_path: Path) -> None:
    function = WRITTEN.get(method, f"xattr:{method}")
    asked = {"budget": "standard"} if method == "occlusion" else {}
    if method in REFERENCE[1:]:  # of which no check asks anything else
        asked = {"checks": "shape or batch_independent or sensitivity_n"}
    results = run_battery(function, tagged, storage=tmp_path, **asked)
    assert not MISMATCHES
    assert [(one.check, one.sentence) for one in results if one.status in ("error", "invalid")] == []
    assert "shape" in {one.check for one in results if one.status == "pass"}
    assert current() is None


def test_all_ways_to_write_a_method_give_the_same_maps(tagged: Subject) -> None:
    some = torch.tensor([3, 7, 8])
    inputs, targets = tagged.inputs[some], tagged.targets[some]
    with rows(some):
        plain, ids, context = (
            as_method(one).bind(tagged)(tagged.model, inputs, targets).sum(2) for one in WRITTEN.values()
        )
    torch.testing.assert_close(plain, ids)
    torch.testing.assert_close(plain, context)
    assert not plain[~tagged.valid[some]].any()
    assert plain[tagged.valid[some]].all()


@pytest.mark.parametrize("name", ["gradient", "integrated_gradients", "xrai", "occlusion"])
def test_a_method_that_is_called_by_hand_finds_the_rows(name: str) -> None:
    """On the subject's own inputs, all of them or some, in any order; never on others."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, images, table = Beside(), torch.randn(6, 3, 3, 3), torch.randn(6, 2)
    images[5] = images[4]
    targets = torch.arange(6) % 2
    subject = Subject("beside", model, images, targets, context={"table": table})
    method = xattr_check.methods()[name]
    some = torch.tensor([3, 0])
    with rows(torch.arange(6)):
        expected = method.bind(subject)(subject.model, images, targets)
    torch.testing.assert_close(method(subject.model, images, targets), expected)
    torch.testing.assert_close(method(subject.model, images[some], targets[some]), expected[some])
    for others in (images[:2] + 1, images[4:5]):  # not its own, and of two rows
        with pytest.raises(ContextError, match="which rows of them are asked for is not told"):
            method(subject.model, others, targets[: len(others)])
    assert current() is None


def test_a_batch_that_cannot_be_placed_is_refused(tagged: Subject) -> None:
    with pytest.raises(ContextError, match="call model\\(inputs, \\*\\*context\\)"):
        tagged.model(tagged.inputs[:2])
    with rows(torch.arange(3)), pytest.raises(ContextError, match="batch of 2 inputs where 3 rows"):
        tagged.model(tagged.inputs[:2])


class Beside(nn.Module):
    """An image beside a table of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.read, self.head = nn.Linear(27, 8), nn.Linear(10, 2)

    def forward(self, images: Tensor, table: Tensor, ignored: Tensor | None = None) -> Tensor:
        found: Tensor = self.head(torch.cat([self.read(images.flatten(1)).relu(), table], 1))
        return found


def test_a_table_beside_an_image(tmp_path: Path) -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, images, table = Beside(), torch.randn(20, 3, 3, 3), torch.randn(20, 2)
    targets = torch.arange(20) % 2
    subject = Subject("beside", model, images, targets, context={"table": table})
    checks = "contract or exact or parameter_randomization"
    results = run_battery("xattr:integrated_gradients", subject, checks=checks, storage=tmp_path)
    assert {one.status for one in results if one.check != "parameter_randomization"} <= {
        "pass", "fail", "not_applicable", "undecided",
    }  # fmt: skip
    assert not [one for one in results if one.failed and one.required]
    with pytest.raises(SubjectError, match="expected a model that uses context 'ignored'"):
        Subject("b", model, images, targets, context={"table": table, "ignored": torch.randn(20, 1)})
    with pytest.raises(
        SubjectError, match=r"context 'table' with 20 rows, one for each input, came \(19, 2\)"
    ):
        Subject("b", model, images, targets, context={"table": table[1:]})


def test_a_compiled_model_finds_its_other_inputs_and_an_exported_one_is_refused() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model, images, table = Beside(), torch.randn(6, 3, 3, 3), torch.randn(6, 2)
    targets = torch.arange(6) % 2
    compiled = Subject("c", torch.compile(model, backend="eager"), images, targets, context={"table": table})
    with rows(torch.arange(6)):
        torch.testing.assert_close(compiled.model(images), model(images, table))
    exported = torch.export.export(model, (images[:2],), {"table": table[:2]}).module()
    with pytest.raises(SubjectError, match="one that was exported; wrap it in a module whose forward calls"):
        Subject("e", exported, images, targets, context={"table": table})


def mistake(**given: object) -> str:
    ids = given.pop("ids", torch.arange(1, 9).reshape(2, 4))
    model = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(16, 2))
    with pytest.raises(SubjectError) as caught:
        Subject("text", model, ids, torch.zeros(2).long(), **given)
    return str(caught.value)


MISTAKES = {
    "ids in 0…9, the words of '0', came 1…12, first in row 1": {
        "ids": torch.tensor([[1, 2, 3, 4], [1, 2, 3, 12]]),
        "embedding": "0",
    },
    "id 3 as padding before or behind a text, came it inside the text of row 0": {
        "embedding": "0",
        "padding": 3,
    },
    "embedding= the name of an nn.Embedding, one of '0', came 'words'": {"embedding": "words"},
    "embedding= the name of an nn.Embedding, one of '0', came '2', a Linear": {"embedding": "2"},
    "float inputs, came torch.int64; pass inputs.float(), or for ids of tokens say embedding= one of '0'": {},
    "absence= an id in 0…9, came 10": {"embedding": "0", "absence": 10},
    "absence= an id in 0…9, came '[MASK]'": {"embedding": "0", "absence": "[MASK]"},
    "came Embedding that is none of its modules": {"embedding": nn.Embedding(10, 4)},
    "context={'NAME': tensor, …}, by the names of the model's forward, came Tensor": {
        "embedding": "0",
        "context": torch.ones(2, 4),
    },
    "ids of tokens as int64, came torch.int32": {
        "ids": torch.ones(2, 4, dtype=torch.int32),
        "embedding": "0",
    },
    "ids of tokens (N, T) as int64, with embedding=, came torch.float32": {
        "ids": torch.ones(2, 4),
        "layout": "tokens",
    },
    "float inputs for layout='columns'": {"layout": "columns", "embedding": "0"},
    "ids as inputs, and other inputs as context, came context 'input_ids'": {
        "embedding": "0",
        "context": {"input_ids": torch.ones(2, 4).long()},
    },
}


@pytest.mark.parametrize("told", MISTAKES)
def test_each_mistake_is_one_sentence(told: str) -> None:
    sentence = mistake(**MISTAKES[told])
    assert "\n" not in sentence
    assert sentence.startswith("subject 'text': expected ")
    assert told in sentence


def test_names_and_modules_that_the_model_does_not_use(tagged: Subject) -> None:
    images, table = torch.randn(6, 3, 3, 3), torch.randn(6, 2)
    with pytest.raises(SubjectError, match="it is called with context by name, tables: they have to be what"):
        Subject("b", Beside(), images, torch.arange(6) % 2, context={"tables": table})
    idle = nn.Sequential(nn.Embedding(10, 4), nn.Flatten(), nn.Linear(16, 2))
    idle[2].register_module("words", nn.Embedding(10, 4))
    with pytest.raises(SubjectError, match=r"came '2.words', which it does not call on them; say one of '0'"):
        Subject("t", idle, torch.ones(2, 4).long(), torch.zeros(2).long(), embedding="2.words")


def test_controls_of_tokens(tagged: Subject) -> None:
    methods = xattr_check.methods()
    some = torch.arange(COUNT)
    with rows(some):
        rarity, position = (
            methods[name].bind(tagged)(tagged.model, tagged.inputs, tagged.targets)[..., 0]
            for name in ("word_rarity", "position")
        )
    ids, words = tagged.context["ids"], tagged.context["ids"][tagged.valid]
    share = float((words == ids[0, 0]).sum()) / len(words)
    assert float(rarity[0, 0]) == pytest.approx(-torch.tensor(share).log().item())
    assert (position[:, 0] > position[:, 1]).all()
    assert not rarity[~tagged.valid].any()


def test_without_an_id_of_absence_the_mean_word_stands_everywhere() -> None:
    """One word for all places: what may be exchanged in the model stays so."""
    model = nn.Sequential(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(12, 2))
    ids = torch.tensor([[1, 2, 3], [8, 4, 0]])
    subject = Subject("text", model, ids, torch.zeros(2).long(), embedding=model[0])
    assert (subject.embedding, subject.absence, subject.valid) == ("0", None, None)
    gone = subject.without_words(subject.inputs, torch.arange(2))
    torch.testing.assert_close(gone, model[0](ids).detach().mean((0, 1)).expand_as(gone))


def test_others_that_watch_the_embedding_see_what_the_model_goes_on_with(tagged: Subject) -> None:
    """As captum's layer methods do, which put values of their own there."""
    seen: list[Tensor] = []
    given = torch.full_like(tagged.inputs[:2], 0.5)
    handle = tagged.model.words.register_forward_hook(lambda *call: seen.append(call[2]) or call[2] * 0)
    with rows(torch.arange(2)):
        changed = tagged.model(given)
        handle.remove()
        nothing = tagged.model(given * 0)
    assert torch.equal(seen[0], given)
    torch.testing.assert_close(changed, nothing)
