"""What attention says of features, against slow textbook versions on small float64 transformers."""

import math
from pathlib import Path

import pytest
import torch
from judging import judge
from networks import SPELLINGS, Attending, parts, settled
from torch import Tensor, nn
from torch.nn import functional

from xattr_check import Subject
from xattr_check.core.method import Method
from xattr_check.core.run import Run
from xattr_check.storage.store import Store
from xattr_methods import attention, attention_rollout, chefer_relevance, gradcam
from xattr_methods._written_out import scaled_dot_product_attention
from xattr_methods.activations._attention import attention_of

TARGETS = torch.tensor([0, 2, 1])
METHODS = (attention, attention_rollout, chefer_relevance)
EXACT = {"rtol": 1e-9, "atol": 1e-12}


def transformer(**given: object) -> Attending:
    torch.manual_seed(0)
    model = settled(Attending(3, **given))
    assert isinstance(model, Attending)
    return model


def tokens(count: int = 3, length: int = 5) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(count, length, 3, dtype=torch.float64, generator=generator)


def weights_by_hand(layer: nn.MultiheadAttention, hidden: Tensor) -> Tensor:
    """(heads, T, T): the attention of one input (1, T, E), one pair of tokens after the other."""
    query, key, _ = (one[0] for one in parts(layer, hidden))
    found = torch.stack(
        [
            torch.stack([torch.stack([(q * k).sum() for k in keys]) / math.sqrt(q.shape[0]) for q in queries])
            for queries, keys in zip(query, key, strict=True)
        ]
    ).exp()
    return found / found.sum(2, keepdim=True)


def slow_layers(model: Attending, x: Tensor, target: int) -> tuple[list[Tensor], list[Tensor]]:
    """Attention (heads, T, T) of each layer for one input, and the logit's gradient with respect to it."""
    hidden, kept = model.read(x[None]), []
    if model.pool != "mean":
        hidden = torch.cat([model.start, hidden] if model.pool == "first" else [hidden, model.start], 1)
    for layer in model.layers:
        kept.append(weights_by_hand(layer, hidden))
        value = list(parts(layer, hidden))[2]
        hidden = hidden + layer.out_proj((kept[-1][None] @ value).transpose(1, 2).flatten(2))
    pooled = {"mean": hidden.mean(1), "first": hidden[:, 0], "last": hidden[:, -1]}[model.pool]
    slopes = torch.autograd.grad(model.classifier(pooled)[0, target], kept)
    return [one.detach() for one in kept], list(slopes)


def slow_map(method: Method, model: Attending, x: Tensor, target: int) -> Tensor:
    """(T, 1): the map of one input."""
    layers, slopes = slow_layers(model, x, target)
    one = torch.eye(layers[0].shape[1], dtype=x.dtype)
    rolled, added = one, one
    for weights, slope in zip(layers, slopes, strict=True):
        rolled = (weights.mean(0) + one) / 2 @ rolled
        added = added + (weights * slope).clamp_min(0).mean(0) @ added
    found = {"attention": layers[-1].mean(0), "attention_rollout": rolled, "chefer_relevance": added - one}
    mixed = found[method.name]
    first, last = mixed[0, 1:], mixed[-1, :-1]
    return {"mean": mixed.mean(0), "first": first, "last": last}[model.pool][:, None]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_attention_by_hand_whichever_way_it_is_computed(method: Method) -> None:
    x = tokens()
    for pool in ("mean", "first", "last"):
        model = transformer(pool=pool)
        slow = torch.stack([slow_map(method, model, *one) for one in zip(x, TARGETS.tolist(), strict=True)])
        for model.spelling in SPELLINGS:
            found = method(model, x, TARGETS, layout="embeddings")
            torch.testing.assert_close(found, slow, **EXACT, msg=f"{pool} {model.spelling}")


@pytest.mark.parametrize("norm_first", [False, True])
def test_attention_in_encoders_of_torch(norm_first: bool) -> None:
    """In eval mode, where torch takes its fast path, with padding, and with the batch behind the tokens."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(4, 2, 6, batch_first=True, norm_first=norm_first, activation="gelu")
    encoder = nn.TransformerEncoder(layer, 2, enable_nested_tensor=not norm_first).double().eval()
    padded = torch.tensor([[False] * 3 + [True] * 2, [False] * 5])

    class Classifier(nn.Module):
        def __init__(self, padding: Tensor | None = None) -> None:
            super().__init__()
            self.padding = padding

        def forward(self, inputs: Tensor) -> Tensor:
            turned = inputs if encoder.layers[0].self_attn.batch_first else inputs.transpose(0, 1)
            hidden = encoder(turned, src_key_padding_mask=self.padding)
            return hidden[:, 0] if turned is inputs else hidden[0]

    x = torch.randn(2, 5, 4, dtype=torch.float64)
    found = attention_of("a", Classifier(padded), x, TARGETS[:2])
    hidden = encoder.layers[0](x, src_key_padding_mask=padded)
    for given, layer, weights in zip((x, hidden), encoder.layers, found.weights, strict=True):
        own = layer.norm1(given) if norm_first else given
        wanted = layer.self_attn(own, own, own, key_padding_mask=padded, average_attn_weights=False)[1]
        torch.testing.assert_close(weights, wanted, **EXACT)
    assert found.read.tolist() == [[1, 0, 0, 0, 0]] * 2
    assert not found.weights[1][0, :, :, 3:].any()
    straight = attention_of("a", Classifier(), x, TARGETS[:2])
    for layer in encoder.layers:
        layer.self_attn.batch_first = False
    turned = attention_of("a", Classifier(), x, TARGETS[:2])
    torch.testing.assert_close(turned.gradients, straight.gradients, **EXACT)


class Cut(nn.Module):
    """Patches of 2×2 by hand, where no convolution tells that there are any."""

    def __init__(self, model: Attending) -> None:
        super().__init__()
        self.model, self.weight, self.bias = model, model.read.weight.flatten(1), model.read.bias
        model.read = nn.Identity()

    def forward(self, inputs: Tensor) -> Tensor:
        cut = inputs.unfold(2, 2, 2).unfold(3, 2, 2).permute(0, 2, 3, 1, 4, 5).flatten(3).flatten(1, 2)
        return self.model(functional.linear(cut, self.weight, self.bias))


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_patches_are_enlarged_and_what_is_no_patch_is_left_out(method: Method) -> None:
    images = torch.randn(3, 3, 4, 6, dtype=torch.float64)
    model = transformer(patch=2, pool="first")
    found, patches = method(model, images, TARGETS), model.read(images).flatten(2).transpose(1, 2).detach()
    cut = Cut(model)
    cells = method(cut.model, patches, TARGETS, layout="embeddings").reshape(3, 1, 2, 3)
    wanted = functional.interpolate(cells, size=(4, 6), mode="bilinear")
    torch.testing.assert_close(found, wanted, **EXACT)
    torch.testing.assert_close(method(cut, images, TARGETS), wanted, **EXACT)


def test_gradcam_takes_the_patches_of_a_layer_of_tokens() -> None:
    images = torch.randn(3, 3, 4, 6, dtype=torch.float64)
    for pool in ("mean", "first"):
        model = transformer(patch=2, pool=pool, spelling="module")
        norm = nn.LayerNorm(4).double()
        model.layers[1] = Normed(norm, model.layers[1])
        kept: list[Tensor] = []
        handle = norm.register_forward_hook(lambda module, given, output, kept=kept: kept.append(output))
        chosen = model(images).gather(1, TARGETS[:, None]).sum()
        handle.remove()
        (slopes,) = torch.autograd.grad(chosen, kept[0])
        slow = [
            (slope[-6:].mean(0) * tokens[-6:]).sum(1).clamp_min(0).reshape(1, 2, 3)
            for slope, tokens in zip(slopes, kept[0].detach(), strict=True)
        ]
        wanted = functional.interpolate(torch.stack(slow), size=(4, 6), mode="bilinear")
        found = gradcam(model, images, TARGETS, layer="layers.1.norm")
        torch.testing.assert_close(found, wanted, **EXACT)
    rows = nn.Sequential(nn.Flatten(2), nn.Linear(24, 2), nn.Flatten(), nn.Linear(6, 3)).double()
    with pytest.raises(ValueError, match=r"token for each patch of image \(4, 6\), came \(3, 3, 2\)"):
        gradcam(rows, images, TARGETS, layer="1")


class Normed(nn.Module):
    """A layer of attention behind a norm."""

    def __init__(self, norm: nn.Module, layer: nn.MultiheadAttention) -> None:
        super().__init__()
        self.norm, self.layer = norm, layer
        self.num_heads, self.out_proj = layer.num_heads, layer.out_proj
        self.in_proj_weight, self.in_proj_bias = layer.in_proj_weight, layer.in_proj_bias

    def forward(self, *given: Tensor, **options: bool) -> tuple[Tensor, Tensor]:
        return self.layer(*[self.norm(given[0])] * 3, **options)


class Split(nn.Module):
    """Numbers, each a token, or patches of signals and volumes, which a transformer reads."""

    def __init__(self, kind: str, pool: str) -> None:
        super().__init__()
        convolutions = {"signal": nn.Conv1d(2, 3, 2, 2), "volume": nn.Conv3d(2, 3, 2, 2)}
        self.cut, self.model = convolutions.get(kind), transformer(pool=pool)

    def forward(self, inputs: Tensor) -> Tensor:
        if self.cut is None:
            return self.model(inputs[..., None] * torch.arange(1, 4))
        return self.model(self.cut(inputs).flatten(2).transpose(1, 2))


@pytest.mark.parametrize(
    ("kind", "shape", "cells"), [("columns", (5,), 5), ("signal", (2, 8), 4), ("volume", (2, 4, 4, 2), 4)]
)
def test_tokens_are_features_of_any_layout(kind: str, shape: tuple[int, ...], cells: int) -> None:
    inputs = torch.randn(3, *shape, dtype=torch.float64)
    for pool in ("mean", "first", "last"):
        model = Split(kind, pool).double()
        taken = slice(1, None) if pool == "first" else slice(cells)
        read = attention_of("a", model, inputs, TARGETS)
        values = read.read_out(read.weights[-1].mean(1))[:, taken]
        found = attention(model, inputs, TARGETS, layout=kind)
        assert found.shape == (3, *shape) if kind == "columns" else (3, 1, *shape[1:])
        torch.testing.assert_close(found.flatten(1).mean(1), values.mean(1), rtol=1e-6, atol=0)


def test_attention_functions_written_out_are_those_of_torch() -> None:
    torch.manual_seed(0)
    query, key, value = (torch.randn(2, 4, 5, 3, dtype=torch.float64) for _ in range(3))
    seen = torch.rand(2, 1, 5, 5) > 0.3
    seen[0, 0, 2] = False  # a query that sees nothing
    added = torch.randn(5, 5, dtype=torch.float64).masked_fill(~seen[1], -torch.inf)
    cases = [
        ((query, key, value), {}),
        ((query, key, value), {"is_causal": True, "scale": 0.3}),
        ((query, key, value, seen), {}),
        ((query, key, value), {"attn_mask": added}),
        ((query, key[:, :2], value[:, :2]), {"enable_gqa": True}),
        ((query, key[:, :, :2], value[:, :, :2]), {"is_causal": True}),
    ]
    for given, options in cases:
        wanted = functional.scaled_dot_product_attention(*given, **options)
        torch.testing.assert_close(scaled_dot_product_attention(*given, **options), wanted, **EXACT)


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_what_is_no_attention_of_all_tokens_is_declined(method: Method) -> None:
    x, declined = tokens(), f"^{method.name}: expected "
    classifier = nn.Sequential(nn.Flatten(), nn.Linear(15, 4), nn.Softmax(-1), nn.Linear(4, 3)).double()
    with pytest.raises(ValueError, match=declined + "a model with attention, came one that weighs no values"):
        method(classifier, x, TARGETS, layout="embeddings")

    class Windows(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            windows = inputs.unflatten(1, (-1, 2)).flatten(0, 1)[:, None]
            mixed = functional.scaled_dot_product_attention(windows, windows, windows)
            return mixed.flatten(0, 1).unflatten(0, (len(inputs), -1)).flatten(1)

    with pytest.raises(
        ValueError, match=declined + r"attention of all .*came \(6, 1, 2, 2\) of 3 inputs, as of"
    ):
        method(Windows(), tokens(length=4), TARGETS, layout="embeddings")
    pooled = transformer()
    halved = nn.Sequential(nn.Unflatten(1, (3, 2)), nn.Flatten(2), nn.Linear(6, 3).double(), pooled)
    with pytest.raises(ValueError, match=declined + r".* of embeddings \(6,\), came 3 tokens; use xattr"):
        method(halved, tokens(length=6), TARGETS, layout="embeddings")


def test_a_query_of_its_own_may_read_the_tokens_last_and_no_other_layer_may_differ() -> None:
    class Pooling(nn.Module):
        """A learned query that reads the tokens, once they are mixed."""

        def __init__(self, mixed: bool) -> None:
            super().__init__()
            self.query, self.mixed = torch.ones(1, 1, 3, dtype=torch.float64), mixed

        def forward(self, inputs: Tensor) -> Tensor:
            hidden = functional.scaled_dot_product_attention(inputs, inputs, inputs) if self.mixed else inputs
            read = functional.scaled_dot_product_attention(
                self.query.expand(len(inputs), -1, -1), hidden, hidden
            )
            return (
                read[:, 0]
                if self.mixed
                else functional.scaled_dot_product_attention(inputs, read, read)[:, 0]
            )

    x = tokens()
    first, last = attention_of("a", Pooling(True), x, TARGETS).weights
    assert (first.shape, last.shape) == ((3, 1, 5, 5), (3, 1, 1, 5))
    wanted = last[:, 0] @ (first[:, 0] + torch.eye(5)) / 2
    found = attention_rollout(Pooling(True), x, TARGETS, layout="embeddings")
    torch.testing.assert_close(found, wanted.transpose(1, 2), **EXACT)
    with pytest.raises(ValueError, match="on the same 5 tokens, came 1×5, 5×1; use xattr:attention"):
        chefer_relevance(Pooling(False), x, TARGETS, layout="embeddings")


def test_attention_does_not_see_the_target_and_relevance_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model, images = Attending(3, 6, patch=2, pool="first").eval(), torch.randn(8, 3, 8, 8)
    subject = Subject("patches", model, images, model(images).argmax(1))
    run = Run(store=Store(tmp_path))
    found = [judge("depends_on_target", f"xattr:{method.name}", subject, run).status for method in METHODS]
    assert found == ["fail", "fail", "pass"]
