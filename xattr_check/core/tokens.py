"""Ids of tokens: the module that embeds them, which of them are words, and which stands for none."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral

import torch
from torch import Tensor, nn

from xattr_check.core.context import IDS
from xattr_check.errors import SubjectError

MASK = "attention_mask"


@dataclass(frozen=True)
class Vocabulary:
    """What the ids of a model are.

    embedding: the name of the module that embeds them.
    absence: the id that stands for no word; None where there is none, and the mean of all words has to.
    padding: the id of what fills texts up, None where nothing does.
    """

    embedding: str
    absence: int | None
    padding: int | None


def vocabulary_of(
    model: nn.Module, ids: Tensor, embedding: str | nn.Module | None, absence: int | None, padding: int | None
) -> Vocabulary:
    """What ids (N, T) are to a model. Raises SubjectError for ids that it does not know."""
    name, module = _embedding(model, embedding, ids.dtype)
    if ids.ndim != 2:
        raise _wrong("ids of tokens (N, T)", str(tuple(ids.shape)))
    if ids.dtype != torch.int64:
        raise _wrong("ids of tokens as int64", str(ids.dtype), "pass inputs.long()")
    size = module.num_embeddings
    if int(ids.min()) < 0 or int(ids.max()) >= size:
        row = int(((ids < 0) | (ids >= size)).any(1).nonzero()[0])
        hint = "the tokenizer has to be that of the model"
        raise _wrong(
            f"ids in 0…{size - 1}, the words of {name!r}",
            f"{int(ids.min())}…{int(ids.max())}, first in row {row}", hint,
        )  # fmt: skip
    known = {"absence": absence, "padding": padding}
    for told, one in known.items():
        if one is not None and (not isinstance(one, Integral) or not 0 <= one < size):
            raise _wrong(f"{told}= an id in 0…{size - 1}", repr(one))
    fills = module.padding_idx if padding is None else padding
    stands = next((one for one in (absence, module.padding_idx, padding) if one is not None), None)
    return Vocabulary(name, stands, fills)


def valid_tokens(ids: Tensor, padding: int | None, mask: Tensor | None) -> Tensor | None:
    """(N, T) bool, which tokens are no padding; None where all are words.

    mask: (N, T), zero where a token is padding; it goes before the id. Raises SubjectError where padding is
    inside a text, or where a text is nothing else.
    """
    if mask is not None:
        valid, told = mask != 0, f"context {MASK!r}"
    elif padding is not None:
        valid, told = ids != padding, f"id {padding} as padding"
        # Behind the last word and before the first one: each is seen from its end.
        inside = ~valid & (valid.cumsum(1) > 0) & (valid.flip(1).cumsum(1).flip(1) > 0)
        if bool(inside.any()):
            row = int(inside.any(1).nonzero()[0])
            raise _wrong(
                f"{told} before or behind a text", f"it inside the text of row {row}, as a word",
                "say padding= another id, or give context={'attention_mask': …}",
            )  # fmt: skip
    else:
        return None
    if not bool(valid.any(1).all()):
        row = int((~valid.any(1)).nonzero()[0])
        hint = "leave such rows out, or say padding= another id"
        raise _wrong(f"words in every text, with {told}", f"none in row {row}", hint)
    return None if bool(valid.all()) else valid


def expect_context(context: Mapping[str, Tensor], count: int) -> None:
    """Raise SubjectError for other inputs that are not one row for each of so many inputs."""
    if not isinstance(context, Mapping):
        raise _wrong(
            "context={'NAME': tensor, …}, by the names of the model's forward", type(context).__name__
        )
    for name, table in context.items():
        if name in (IDS, "input_ids", "inputs_embeds"):
            raise _wrong("ids as inputs, and other inputs as context", f"context {name!r}")
        if not isinstance(table, Tensor):
            asked = f"context {name!r} as a tensor ({count}, …)"
            raise _wrong(asked, type(table).__name__, "pass torch.as_tensor of it")
        if not table.shape or len(table) != count:
            raise _wrong(f"context {name!r} with {count} rows, one for each input", str(tuple(table.shape)))


def _embedding(
    model: nn.Module, given: str | nn.Module | None, dtype: torch.dtype
) -> tuple[str, nn.Embedding]:
    """The module that embeds ids, with its name. Raises SubjectError."""
    modules = dict(model.named_modules())
    known = [repr(name) for name, one in modules.items() if isinstance(one, nn.Embedding)]
    choices = f"one of {', '.join(known)}" if known else "of which the model has none"
    if given is None:
        asked = f"say embedding= {choices}" if known else "a model with an nn.Embedding"
        hint = f"pass inputs.float(), or for ids of tokens {asked}"
        raise _wrong("float inputs", str(dtype), hint)
    names = [name for name, one in modules.items() if one is given or name == given]
    if not names:
        came = (
            repr(given) if isinstance(given, str) else f"{type(given).__name__} that is none of its modules"
        )
        raise _wrong(f"embedding= the name of an nn.Embedding, {choices}", came)
    found = modules[names[0]]
    if not isinstance(found, nn.Embedding):
        raise _wrong(
            f"embedding= the name of an nn.Embedding, {choices}", f"{names[0]!r}, a {type(found).__name__}"
        )
    return names[0], found


def _wrong(expected: str, came: str, hint: str = "") -> SubjectError:
    return SubjectError(option="subject", expected=expected, came=came, hint=hint)


def words_of(ids: Tensor, valid: Tensor | None, vocabulary: Sequence[str]) -> list[list[str]]:
    """The words of ids (n, T), the ids themselves for an empty vocabulary, and empty ones for padding."""
    kept = torch.ones_like(ids, dtype=torch.bool) if valid is None else valid
    word = vocabulary.__getitem__ if vocabulary else str
    return [
        [word(one) if there else "" for one, there in zip(*row, strict=True)]
        for row in zip(ids.tolist(), kept.tolist(), strict=True)
    ]
