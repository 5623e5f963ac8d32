"""Sets of columns as features: none is beside another, and a value belongs to its own column."""

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from xattr_check.core.layouts import Layout
from xattr_check.errors import UsageError
from xattr_check.generation.numbers import Numbers

# A column that takes no more values than these, and each of them often, holds categories: what lies between
# two of them is no input.
CATEGORIES = 10


@dataclass(frozen=True, eq=False)
class Sets(Numbers):
    """Columns that stand anywhere, those of a feature drawn among the numeric ones.

    layout: of the inputs (D,). columns: (M,) int64, the numeric ones. typical: (D,), the input whose other
    columns hold what is most usual there.
    """

    layout: Layout
    columns: Tensor
    typical: Tensor

    unit: ClassVar[str] = "columns"
    least: ClassVar[int] = 1
    movable: ClassVar[bool] = False
    priors: ClassVar[tuple[str, ...]] = ("pixels",)

    @classmethod
    def of(cls, layout: Layout, inputs: Tensor) -> "Sets":
        """Those of inputs (N, D)."""
        numeric = _numeric(inputs)
        found = numeric.nonzero().squeeze(1).cpu()
        return cls(layout, found, inputs[_most_usual(inputs[:, ~numeric])])

    @property
    def size(self) -> tuple[int, ...]:
        """How many columns a feature may have."""
        return (len(self.columns),)

    @property
    def key(self) -> list[object]:
        """What places depend on besides a plan."""
        return [self.layout.name, *self.columns.tolist()]

    def place(
        self,
        count: int,
        features: int,
        side: int,
        generator: torch.Generator,
        *,
        gap: int = 0,
        together: bool = False,
    ) -> Tensor:
        """(count, features, side) int64: the columns of each feature, no two of which share one.

        Gaps and neighbours there are none. Raises UsageError where there are too few numeric columns.
        """
        known, total = len(self.columns), self.layout.shape[0]
        if known < features:
            raise UsageError(
                f"{known} of {total} columns are numeric, and {features} patches need one each at the least; "
                "values between those of the others are no inputs"
            )
        if features * side > known:
            raise UsageError(
                f"{features} patches of {side} columns are more than the {known} numeric ones of {total}",
                option="patch",
                value=side,
                hint="choose a smaller patch",
            )
        order = torch.rand(count, known, generator=generator).argsort(1)[:, : features * side]
        return self.columns[order.reshape(count, features, side).sort(2).values]

    def paste(self, inputs: Tensor, patches: Tensor, places: Tensor) -> Tensor:
        """Inputs (N, D) with the values (N, side) of columns (N, side); differentiable in both."""
        return inputs.scatter(1, places, patches)

    def cut(self, inputs: Tensor, places: Tensor, side: int) -> Tensor:
        """(N, side): what inputs (N, D) hold in columns (N, side)."""
        return inputs.gather(1, places)

    def mask(self, places: Tensor, side: int) -> Tensor:
        """(N, D) bool: the columns (N, side)."""
        found = torch.zeros(len(places), *self.layout.shape, dtype=torch.bool, device=places.device)
        return found.scatter(1, places, True)

    def at(self, values: Tensor, places: Tensor) -> Tensor:
        """(n · F, side): values (D,) of columns at places (n, F, side)."""
        return values[places.flatten(0, 1)]

    def absence(self, inputs: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
        """(D,) what noise is drawn around and its width is told in, mean and deviation of numeric columns.

        A range is made by one row, and says little of a column. Of the others a reference has the most usual
        values, all of one input, so that it is one.
        """
        columns = self.columns.to(inputs.device)
        middle, reach = self.typical.clone(), torch.zeros_like(low)
        middle[columns] = self.layout.mean(inputs)[0, columns]
        reach[columns] = self.layout.deviation(inputs)[0, columns]
        return middle, reach


def _numeric(inputs: Tensor) -> Tensor:
    """(D,) bool: which columns of inputs (N, D) take values of which any between two would be one."""
    values = 1 + inputs.sort(0).values.diff(dim=0).ne(0).sum(0)
    # Of few inputs no column takes many values: there those count that hardly ever come twice.
    return (values > 2) & ((values > CATEGORIES) | (2 * values > len(inputs)))


def _most_usual(categories: Tensor) -> int:
    """Which row of (N, d) holds values that most of the others have, too."""
    share = [column.eq(column[:, None]).double().mean(1) for column in categories.unbind(1)]
    return int(torch.stack(share).sum(0).argmax()) if share else 0
