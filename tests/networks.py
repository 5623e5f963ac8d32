"""Small networks that are awkward to explain, for tests of methods."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.nn import functional


def settled(model: nn.Module) -> nn.Module:
    """In float64 and eval mode, with BatchNorm statistics and affine parameters that are not trivial."""
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2)
            if module.affine:
                nn.init.normal_(module.weight)
                nn.init.normal_(module.bias)
    return model.double().eval()


class Pooled(nn.Module):
    """A residual network in small: BatchNorm, a ReLU in place and used twice, pooling, a classifier."""

    def __init__(self, channels: int = 3, width: int = 5, outputs: int = 3) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, width, 3, padding=1)
        self.norm = nn.BatchNorm2d(width)
        self.second = nn.Conv2d(width, width, 3, padding=1, bias=False)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.AvgPool2d(2)
        self.classifier = nn.Linear(width, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.pool(self.relu(self.norm(self.first(inputs))))
        hidden = self.relu(self.norm(self.second(hidden)) + hidden)  # norm and relu a second time
        return self.classifier(hidden.mean((2, 3)))


class Dense(nn.Module):
    """Columns, or tokens all at once: BatchNorm, a ReLU in place and used twice, a sum, a classifier."""

    def __init__(self, columns: int, width: int = 6, outputs: int = 3) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(columns, width), nn.Linear(width, width)
        self.norm = nn.BatchNorm1d(width)
        self.relu = nn.ReLU(inplace=True)
        self.classifier = nn.Linear(width, outputs)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.relu(self.norm(self.first(inputs.flatten(1))))
        return self.classifier(self.relu(self.second(hidden) + hidden))


class Twice(nn.Module):
    """Images (N, C, H, W) to 3 logits; an in-place ReLU, a function's, and modules that are used twice."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, 4, 3, padding=1)
        self.again = nn.Conv2d(4, 4, 3, padding=1)
        self.relu = nn.ReLU(inplace=True)
        self.classifier = nn.Linear(4 * 16, 3)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.relu(self.again(self.relu(self.first(inputs))))
        hidden = functional.relu(self.again(hidden))
        return self.classifier(functional.adaptive_avg_pool2d(hidden, 4).flatten(1))


def smooth(columns: int, outputs: int = 3) -> nn.Module:
    """Columns through a tanh: a quadrature converges quickly."""
    return nn.Sequential(nn.Linear(columns, 7), nn.Tanh(), nn.Linear(7, outputs)).double().eval()


class Attending(nn.Module):
    """Tokens (N, T, E), or patches of images (N, C, H, W), through layers of attention with shortcuts.

    patch: the side of a patch; None for tokens. pool: `mean`, or `first` for a class token before the others
    and `last` for one behind them. layers: how many. spelling: how the attention is computed.
    """

    def __init__(
        self, numbers: int, width: int = 4, outputs: int = 3, *, patch: int | None = None,
        pool: str = "mean", layers: int = 2, spelling: str = "softmax",
    ) -> None:  # fmt: skip
        super().__init__()
        self.read = nn.Linear(numbers, width) if patch is None else nn.Conv2d(numbers, width, patch, patch)
        self.start = nn.Parameter(torch.randn(1, 1, width))
        self.layers = nn.ModuleList(nn.MultiheadAttention(width, 2, batch_first=True) for _ in range(layers))
        for layer in self.layers:
            nn.init.normal_(layer.in_proj_weight)
        self.classifier = nn.Linear(width, outputs)
        self.pool, self.spelling = pool, spelling

    def forward(self, inputs: Tensor) -> Tensor:
        tokens = self.read(inputs)
        if isinstance(self.read, nn.Conv2d):
            tokens = tokens.flatten(2).transpose(1, 2)
        start = self.start.expand(len(tokens), -1, -1)
        if self.pool != "mean":
            tokens = torch.cat([start, tokens] if self.pool == "first" else [tokens, start], 1)
        for layer in self.layers:
            tokens = tokens + SPELLINGS[self.spelling](layer, tokens)
        pooled = {
            "mean": lambda: tokens.mean(1),
            "first": lambda: tokens[:, 0],
            "last": lambda: tokens[:, -1],
        }
        return self.classifier(pooled[self.pool]())


# Methods that serve models with attention alone.
OF_ATTENTION = ("attention", "attention_rollout", "chefer_relevance")


def awkward(method: str, channels: int = 3, width: int = 5, outputs: int = 3) -> nn.Module:
    """A network of images for a method."""
    if method in OF_ATTENTION:
        return Attending(channels, 2 * width, outputs, patch=2)
    return Pooled(channels, width, outputs)


def parts(layer: nn.MultiheadAttention, tokens: Tensor) -> Iterator[Tensor]:
    """Queries, keys and values (N, heads, T, E / heads)."""
    for one in functional.linear(tokens, layer.in_proj_weight, layer.in_proj_bias).chunk(3, -1):
        yield one.unflatten(-1, (layer.num_heads, -1)).transpose(1, 2)


def by_softmax(layer: nn.MultiheadAttention, tokens: Tensor) -> Tensor:
    query, key, value = parts(layer, tokens)
    weights = (query @ key.mT / math.sqrt(query.shape[-1])).softmax(dim=-1)
    return layer.out_proj((functional.dropout(weights, 0.0) @ value).transpose(1, 2).flatten(2))


def heads_first(layer: nn.MultiheadAttention, tokens: Tensor) -> Tensor:
    query, key, value = (one.transpose(0, 1).flatten(0, 1) for one in parts(layer, tokens))
    closeness = torch.bmm(query, key.transpose(1, 2)) / math.sqrt(query.shape[-1])
    mixed = torch.bmm(torch.softmax(closeness, 2), value).unflatten(0, (layer.num_heads, -1))
    return layer.out_proj(mixed.permute(1, 2, 0, 3).flatten(2))


def eager(layer: nn.MultiheadAttention, tokens: Tensor) -> Tensor:
    """As transformers write it."""
    query, key, value = parts(layer, tokens)
    closeness = torch.matmul(query, key.transpose(2, 3)) * query.shape[-1] ** -0.5
    closeness = closeness + torch.zeros_like(closeness[:, :1])
    weights = functional.softmax(closeness, dim=-1, dtype=closeness.dtype).to(query.dtype)
    mixed = torch.matmul(functional.dropout(weights, p=0.1, training=False), value)
    return layer.out_proj(mixed.transpose(1, 2).reshape(tokens.shape).contiguous())


def by_einsum(layer: nn.MultiheadAttention, tokens: Tensor) -> Tensor:
    query, key, value = parts(layer, tokens)
    closeness = torch.einsum("bhid,bhjd->bhij", query, key) * query.shape[-1] ** -0.5
    mixed = torch.einsum("bhij,bhjd->bhid", closeness.softmax(-1), value)
    return layer.out_proj(mixed.transpose(1, 2).flatten(2))


def fused(layer: nn.MultiheadAttention, tokens: Tensor) -> Tensor:
    mixed = functional.scaled_dot_product_attention(*parts(layer, tokens))
    return layer.out_proj(mixed.transpose(1, 2).flatten(2))


SPELLINGS: dict[str, Callable[[nn.MultiheadAttention, Tensor], Tensor]] = {
    "softmax": by_softmax,
    "heads first": heads_first,
    "eager": eager,
    "einsum": by_einsum,
    "fused": fused,
    "module": lambda layer, tokens: layer(tokens, tokens, tokens, need_weights=False)[0],
    "module with weights": lambda layer, tokens: layer(tokens, tokens, tokens)[0],
}
