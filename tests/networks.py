"""Small networks that are awkward to explain, for tests of methods."""

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
