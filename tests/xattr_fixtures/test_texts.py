"""Text classifiers of transformers, built here and saved to a folder; nothing is downloaded."""

from pathlib import Path

import pytest
import torch

from xattr_check import run_battery, subjects
from xattr_check.errors import UsageError
from xattr_fixtures._texts import read_texts

ROWS = "review,sentiment\n" + "\n".join(
    f"{' '.join(['good' if row % 2 else 'bad', *['word'] * (row % 4)])},{'yes' if row % 2 else 'no'}"
    for row in range(12)
)


@pytest.fixture
def table(tmp_path: Path) -> str:
    (tmp_path / "reviews.csv").write_text(ROWS + "\n,no\n")
    return f"csv:{tmp_path}/reviews.csv"


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A small BERT with a tokenizer of whole words."""
    transformers = pytest.importorskip("transformers")
    tokenizers = pytest.importorskip("tokenizers")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "word"]
    own = tokenizers.Tokenizer(
        tokenizers.models.WordLevel({word: number for number, word in enumerate(words)}, "[UNK]")
    )
    own.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    special = {"pad_token": "[PAD]", "unk_token": "[UNK]", "mask_token": "[MASK]"}
    folder = tmp_path / "bert"
    transformers.PreTrainedTokenizerFast(tokenizer_object=own, **special).save_pretrained(folder)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = transformers.BertConfig(
            vocab_size=len(words),
            hidden_size=8,
            num_hidden_layers=1,
            num_attention_heads=2,
            intermediate_size=8,
            max_position_embeddings=16,
            initializer_range=0.5,
            id2label={0: "no", 1: "yes"},
            label2id={"no": 0, "yes": 1},
        )
        transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return folder


def test_a_saved_classifier_is_judged(saved: Path, table: str, tmp_path: Path) -> None:
    made = subjects()["torchvision"](
        model=f"transformers:{saved}", data=f"{table}?text=review&label=sentiment"
    )
    assert made.layout.name == "tokens"
    assert made.embedding == "bert.embeddings.word_embeddings"
    assert (made.absence, made.padding) == (4, 0)
    assert made.context["ids"].shape == (12, 4)
    assert int(made.valid.sum(1).min()) == 1
    assert torch.equal(made.targets == 1, (made.context["ids"] == 5).any(1))
    results = run_battery("xattr:occlusion", made, checks="contract", storage=tmp_path)
    assert {one.status for one in results} == {"pass"}
    predicted = subjects()["torchvision"](model=f"transformers:{saved}", data=f"{table}?text=review")
    assert torch.equal(predicted.targets, predicted.outputs_of_all().argmax(1))


@pytest.mark.parametrize(
    ("columns", "told"),
    [
        (
            "?text=reviews",
            "expected a column among review, sentiment, came 'reviews'; the nearest are review",
        ),
        ("?label=sentiment", "expected csv:FILE?text=COLUMN&label=COLUMN, for example"),
        ("x?text=review", "which does not exist"),
    ],
)
def test_mistakes_of_a_table(table: str, columns: str, told: str) -> None:
    with pytest.raises(UsageError) as caught:
        read_texts(table + columns, 8, 0)
    assert told in str(caught.value)


def test_mistakes_of_a_model(saved: Path, table: str, tmp_path: Path) -> None:
    def mistake(model: str, columns: str) -> str:
        with pytest.raises(UsageError) as caught:
            subjects()["torchvision"](model=model, data=table + columns)
        return str(caught.value)

    (tmp_path / "empty").mkdir()
    assert "expected a tokenizer in" in mistake(f"transformers:{tmp_path}/empty", "?text=review")
    sentence = mistake(f"transformers:{saved}", "?text=sentiment&label=review")
    assert "expected labels among no, yes, 0, 1, came " in sentence
    assert "expected length=NUMBER" in mistake(f"transformers:{saved}?size=3", "?text=review")
