from typing import Any

import pytest
import torch
from features import ChannelMeans, toy
from torch import Tensor, nn

from xattr_check import Subject, UsageError
from xattr_check.core.run import Run
from xattr_check.generation.generator import Maker
from xattr_check.generation.plan import Plan
from xattr_check.generation.scenarios import scenario


def maker(
    run: Run, subject: Subject, name: str = "double", features: int | None = None, **options: Any
) -> Maker:
    return Maker(subject, Plan.of(subject, scenario(name, features), **options), run)


def test_a_model_with_too_few_outputs(run: Run) -> None:
    with pytest.raises(UsageError, match=r"expected a model with at least 4 outputs for 'double', came 3"):
        maker(run, toy(), features=4, side=4)


class Detached(nn.Module):
    def forward(self, inputs: Tensor) -> Tensor:
        return inputs.detach() * 2


class NoGradients(nn.Sequential):
    @torch.no_grad()
    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = super().forward(inputs)
        return found


class OwnForward(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.norm, self.head = nn.BatchNorm2d(3), ChannelMeans()

    def forward(self, inputs: Tensor) -> Tensor:
        found: Tensor = self.head(self.norm(inputs).detach())
        return found


@pytest.mark.parametrize(
    ("model", "where"),
    [
        (nn.Sequential(nn.BatchNorm2d(3), Detached(), ChannelMeans()), "module '1' (Detached)"),
        (
            nn.Sequential(nn.BatchNorm2d(3), NoGradients(nn.Conv2d(3, 3, 3), nn.ReLU()), ChannelMeans()),
            "module '1.0' (Conv2d)",
        ),
        (OwnForward(), "the model's own forward"),
    ],
)
def test_where_no_gradient_reaches_the_inputs(model: nn.Module, where: str, run: Run) -> None:
    with pytest.raises(UsageError) as raised:
        maker(run, toy(model))
    assert str(raised.value) == f"subject 'toy': no gradient reaches the inputs; it stops at {where}"
