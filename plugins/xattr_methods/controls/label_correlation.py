"""Control: what a filter method selects columns by."""

import torch
from torch import Tensor, nn

from xattr_check.core.method import method
from xattr_check.core.subject import Subject


@method(control="negative", needs=("columns", "accuracy"))
def label_correlation(model: nn.Module, inputs: Tensor, targets: Tensor, *, subject: Subject) -> Tensor:
    """Correlation of each column with the label, times its standardised value, (N, D): no model is asked.

    Positive where a value speaks for the target, as far as one column tells. The labels are the subject's
    targets, of all its inputs.
    """
    rows, mean, deviation = _standardised(subject.inputs.double())
    label, _, _ = _standardised((subject.targets[:, None] == targets).double())
    correlation = (label.T @ rows.flatten(1) / len(rows)).reshape(inputs.shape)
    maps: Tensor = correlation * (inputs.double() - mean) / deviation
    return maps.to(inputs)


def _standardised(rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Rows (N, *F) over their mean and deviation (*F); zeros where all are the same."""
    mean = rows.mean(0)
    deviation = ((rows - mean) ** 2).mean(0).sqrt()  # also of no columns, where torch's own would warn
    deviation = deviation.where(deviation > 0, torch.ones_like(deviation))
    return (rows - mean) / deviation, mean, deviation
