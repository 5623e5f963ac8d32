"""Relevance through attention, LayerNorm and gates, against slow textbook versions."""

import math
from collections.abc import Callable

import pytest
import torch
from networks import SPELLINGS, parts
from torch import Tensor, nn
from torch.nn import functional

from xattr_methods import deeplift, deepshap, lrp
from xattr_methods.relevance._differences import Difference
from xattr_methods.relevance._tape import Tape

EXACT = {"rtol": 1e-8, "atol": 1e-10}
TARGETS = torch.tensor([0, 2, 1])


class Block(nn.Module):
    """Attention and a gated perceptron, each behind a norm and beside a shortcut: (N, T, 4) to (N, T, 4)."""

    def __init__(self, norm: Callable[[int], nn.Module], bias: bool) -> None:
        super().__init__()
        self.norm1, self.norm2 = norm(4), norm(4)
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True, bias=bias)
        self.expand, self.gate, self.contract = (
            nn.Linear(4, 6, bias=bias), nn.Linear(4, 6, bias=bias), nn.Linear(6, 4, bias=bias)
        )  # fmt: skip
        nn.init.normal_(self.attention.in_proj_weight)
        for one in (self.norm1, self.norm2):
            nn.init.uniform_(one.weight, 0.5, 2)


class Encoder(nn.Module):
    """Tokens (N, T, 3) to logits (N, 3): places, a class token, a block of LayerNorms and one of RMSNorms."""

    def __init__(self, spelling: str = "fused", bias: bool = True) -> None:
        super().__init__()
        self.spelling = spelling
        self.read, self.classifier = nn.Linear(3, 4, bias=bias), nn.Linear(4, 3, bias=bias)
        self.places = nn.Parameter(torch.randn(6, 4) if bias else torch.zeros(6, 4))
        self.start = nn.Parameter(torch.randn(1, 1, 4) if bias else torch.zeros(1, 1, 4))
        norms = (lambda width: nn.LayerNorm(width, bias=bias)), nn.RMSNorm
        self.blocks = nn.ModuleList(Block(norm, bias) for norm in norms)

    def embed(self, inputs: Tensor) -> Tensor:
        start = self.start.expand(len(inputs), -1, -1)
        return torch.cat([start, self.read(inputs)], 1) + self.places

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.embed(inputs)
        for block in self.blocks:
            tokens = tokens + self.attend(block.attention, block.norm1(tokens))
            hidden = block.norm2(tokens)
            tokens = tokens + block.contract(functional.gelu(block.expand(hidden)) * block.gate(hidden))
        return self.classifier(functional.tanh(tokens[:, 0]))

    def attend(self, layer: nn.MultiheadAttention, tokens: Tensor) -> Tensor:
        if self.spelling != "linear":
            return SPELLINGS[self.spelling](layer, tokens)
        query, key, value = parts(layer, tokens)
        return layer.out_proj((query @ key.mT @ value).transpose(1, 2).flatten(2))


def half(product: Tensor) -> Tensor:
    """A product whose gradient is half as large."""
    return product / 2 + product.detach() / 2


def proportional(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """A function whose gradient is f(x) / x."""
    return x * (function(x) / x).detach()


def normalised(norm: nn.Module, x: Tensor) -> Tensor:
    """A norm that divides by a constant."""
    centred = x - x.mean(-1, keepdim=True) if isinstance(norm, nn.LayerNorm) else x
    epsilon = norm.eps or torch.finfo(x.dtype).eps
    found = centred / (centred.square().mean(-1, keepdim=True) + epsilon).sqrt().detach() * norm.weight
    return found + norm.bias if isinstance(norm, nn.LayerNorm) else found


def input_times_modified_gradient(model: Encoder, inputs: Tensor) -> Tensor:
    """AttnLRP, in which every rule is the gradient of a function put in place of one."""
    x = inputs.clone().requires_grad_()
    tokens = model.embed(x)
    for block in model.blocks:
        query, key, value = parts(block.attention, normalised(block.norm1, tokens))
        weights = (half(query @ key.mT) / math.sqrt(2)).softmax(-1)
        mixed = half(weights @ value).transpose(1, 2).flatten(2)
        tokens = tokens + block.attention.out_proj(mixed)
        hidden = normalised(block.norm2, tokens)
        opened = half(proportional(functional.gelu, block.expand(hidden)) * block.gate(hidden))
        tokens = tokens + block.contract(opened)
    logits = model.classifier(proportional(torch.tanh, tokens[:, 0]))
    (slopes,) = torch.autograd.grad(logits.gather(1, TARGETS[:, None]).sum(), x)
    return inputs * slopes


def case(**given: object) -> tuple[Encoder, Tensor, Tensor]:
    torch.manual_seed(0)
    return Encoder(**given).double().eval(), torch.randn(3, 5, 3).double(), torch.randn(3, 5, 3).double()


def test_lrp_of_a_transformer_is_its_input_times_a_modified_gradient() -> None:
    model, x, _ = case()
    slow = input_times_modified_gradient(model, x)
    for model.spelling in SPELLINGS:
        found = lrp(model, x, TARGETS, rule="epsilon", epsilon=0)
        torch.testing.assert_close(found, slow, **EXACT, msg=model.spelling)


def test_all_relevance_arrives_without_biases_and_softmax() -> None:
    model, x, _ = case(spelling="linear", bias=False)
    logits = model(x).gather(1, TARGETS[:, None]).squeeze(1).detach()
    for given in ({}, {"rule": "gamma"}, {"composite": "epsilon_gamma"}):
        found = lrp(model, x, TARGETS, epsilon=0, **given).flatten(1).sum(1)
        torch.testing.assert_close(found, logits, **EXACT)


@pytest.mark.parametrize("rule", ["rescale", "reveal_cancel"])
def test_deeplift_of_a_transformer_is_complete(rule: str) -> None:
    model, x, other = case()
    with torch.no_grad():
        for model.spelling in ("fused", "module", "linear"):
            # Zeros make tokens that are all alike, of which norms divide by next to nothing.
            for baseline in (other[:1], other, x.roll(1, 0), x * (1 + 1e-9), x, 0 * x):
                found = deeplift(model, x, TARGETS, baseline=baseline, rule=rule).flatten(1).sum(1)
                wanted = (model(x) - model(baseline)).expand(3, 3).gather(1, TARGETS[:, None]).squeeze(1)
                torch.testing.assert_close(found, wanted, **EXACT, msg=f"{model.spelling} {found} {wanted}")
    model.spelling = "module"
    mean = (deeplift(model, x, TARGETS, baseline=one, rule=rule) for one in other)
    torch.testing.assert_close(
        deepshap(model, x, TARGETS, background=other, rule=rule), sum(mean) / 3, **EXACT
    )


def multiplied(function: Callable[[Tensor], Tensor], here: Tensor, there: Tensor, up: Tensor) -> Tensor:
    """Multipliers of x at one call, for those `up` of its outputs."""
    tapes = [Tape("deeplift", nn.Identity(), lambda call: True) for _ in range(2)]
    for tape, x in zip(tapes, (here, there), strict=True):
        tape.model = function
        tape.run(x)
    return tapes[0].backward(up, Difference(*tapes).rescale)


def test_softmax_by_the_rescale_rule_step_by_step() -> None:
    torch.manual_seed(0)
    here, there, up = (torch.randn(1, 4, dtype=torch.float64) for _ in range(3))
    found = multiplied(lambda x: functional.softmax(x, 1), here, there, up)
    raised, total = (here.exp() - there.exp()) / (here - there), here.exp().sum() - there.exp().sum()
    logarithm = (here.exp().sum().log() - there.exp().sum().log()) / total
    ends = [one.softmax(1) for one in (here, there)]
    steps = up * (ends[0] - ends[1]) / (ends[0].log() - ends[1].log())
    torch.testing.assert_close(found, steps - steps.sum() * logarithm * raised, **EXACT)


@pytest.mark.parametrize("centred", [True, False])
def test_norms_by_the_rescale_rule_step_by_step(centred: bool) -> None:
    torch.manual_seed(0)
    here, there, up, scale = (torch.randn(1, 4, dtype=torch.float64) for _ in range(4))

    def norm(x: Tensor) -> Tensor:
        norms = functional.rms_norm, functional.layer_norm
        return norms[centred](x, (4,), weight=scale[0], eps=1e-5)

    found = multiplied(norm, here, there, up)
    own = [one - one.mean() if centred else one for one in (here, there)]
    squares = [(one**2).mean() for one in own]
    roots = [(one + 1e-5) ** -0.5 for one in squares]
    slope = (roots[0] - roots[1]) / (squares[0] - squares[1])
    of_root = (up * scale * (own[0] * roots[0] + own[1] * roots[1]) / (roots[0] + roots[1])).sum()
    each = up * scale * 2 / (1 / roots[0] + 1 / roots[1]) + of_root * slope * (own[0] + own[1]) / 4
    torch.testing.assert_close(found, each - each.mean() if centred else each, **EXACT)


def test_what_is_masked_has_nothing_to_do_with_it() -> None:
    """Whichever way it is: by minus infinity, a large number, or an argument."""
    torch.manual_seed(0)
    layer, seen = (
        nn.MultiheadAttention(4, 2, batch_first=True).double(),
        torch.tensor([True, True, False, True]),
    )

    class Masked(nn.Module):
        def forward(self, inputs: Tensor) -> Tensor:
            query, key, value = parts(layer, inputs)
            if self.way == "argument":
                mixed = functional.scaled_dot_product_attention(query, key, value, seen.expand(4, 4))
            else:
                number = {"infinite": -torch.inf, "large": -1e9}[self.way]
                closeness = (query @ key.mT / math.sqrt(2)).masked_fill(~seen, number)
                mixed = closeness.softmax(-1) @ value
            return layer.out_proj(mixed.transpose(1, 2).flatten(2))[:, 0]

    model, x = Masked(), torch.randn(3, 4, 4, dtype=torch.float64)
    for method in (lrp, deeplift):
        maps = []
        for model.way in ("argument", "infinite", "large"):
            maps.append(method(model, x, TARGETS))
            assert not maps[-1][:, 2].any()
            torch.testing.assert_close(maps[-1], maps[0], **EXACT)
        assert bool(maps[0][:, 1].any())


def test_patches_have_the_rule_of_dense_layers() -> None:
    torch.manual_seed(0)
    read, rest = nn.Conv2d(2, 4, 2, 2), nn.Sequential(nn.Flatten(), nn.ReLU(), nn.Linear(16, 3))
    model = nn.Sequential(read, rest).double()
    x = torch.randn(3, 2, 4, 4, dtype=torch.float64)
    torch.testing.assert_close(lrp(model, x, TARGETS), lrp(model, x, TARGETS, rule="epsilon"), **EXACT)
    read.stride = (1, 1)
    rest[2] = nn.Linear(36, 3).double()
    assert not torch.allclose(lrp(model, x, TARGETS), lrp(model, x, TARGETS, rule="epsilon"))
