"""Small subjects with random weights, for tests."""

from dataclasses import replace

import torch
from torch import Tensor, nn

from xattr_check.core.subject import Subject


class TinyNetwork(nn.Module):
    """Two convolutions with BatchNorm, and a classifier: (N, 3, 12, 12) -> (N, 5)."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 8, 3, padding=1)
        self.norm1 = nn.BatchNorm2d(8)
        self.relu1 = nn.ReLU()
        self.conv2 = nn.Conv2d(8, 12, 3, stride=2, padding=1)
        self.norm2 = nn.BatchNorm2d(12)
        self.relu2 = nn.ReLU()
        self.dropout = nn.Dropout(0.5)
        self.classifier = nn.Linear(12, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        hidden = self.relu1(self.norm1(self.conv1(inputs)))
        hidden = self.relu2(self.norm2(self.conv2(hidden)))
        logits: Tensor = self.classifier(self.dropout(hidden.mean((2, 3))))
        return logits


def images(count: int = 12, seed: int = 0) -> Subject:
    """Noise images on a network whose BatchNorm statistics fit them."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = TinyNetwork()
        inputs = torch.randn(count, 3, 12, 12)
        with torch.no_grad():
            for _ in range(20):
                model(torch.randn(32, 3, 12, 12))
        targets = model.eval()(inputs).argmax(1)
    return Subject("images", model, inputs, targets)


def columns(count: int = 12, seed: int = 0) -> Subject:
    """Rows of six columns on a linear model with three outputs."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model, inputs = nn.Linear(6, 3), torch.randn(count, 6)
        targets = model(inputs).argmax(1)
    return Subject("columns", model, inputs, targets)


def tokens(count: int = 12, seed: int = 0) -> Subject:
    """Sequences (T=5, E=4) through an MLP over all tokens, three outputs."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = nn.Sequential(nn.Flatten(), nn.Linear(20, 16), nn.Tanh(), nn.Linear(16, 3))
        inputs = torch.randn(count, 5, 4)
        targets = model(inputs).argmax(1)
    return Subject("tokens", model, inputs, targets, layout="embeddings")


def sharp(subject: Subject) -> Subject:
    """The subject with large logits that are zero at the mean input: what is removed makes a difference."""
    last = [module for module in subject.model.modules() if isinstance(module, nn.Linear)][-1]
    over = (0, 2, 3) if subject.is_image else (0,)
    with torch.no_grad():
        last.bias -= subject.model(subject.inputs.mean(over, keepdim=True).expand_as(subject.inputs[:1]))[0]
        last.weight *= 20
        last.bias *= 20
        targets = subject.model(subject.inputs).argmax(1)
    return replace(subject, targets=targets)
