"""The page of what units detect, as one HTML file that needs nothing else."""

from collections.abc import Mapping

import torch

from xattr_check.concepts.attribution import semantic_attribution
from xattr_check.concepts.dissection import Dissection
from xattr_check.core.context import rows
from xattr_check.core.subject import Subject
from xattr_check.report.drawing import inline
from xattr_check.report.page import template
from xattr_check.report.units import attribution_sheet, units_sheet

# Units of the model and inputs that are drawn.
UNITS, INPUTS = 12, 6


def render(subject: Subject, networks: Mapping[str, Dissection], notes: Mapping[str, str]) -> str:
    """The page as HTML.

    networks: dissections by the name of a network, that of the subject's model first. notes: why there is
    none of a network.
    """
    model = next(iter(networks.values()))
    pictures = []
    if subject.is_image:
        if units := distinct(model)[:UNITS]:
            title = f"Units of {model.layer}, the best of each concept"
            pictures.append((title, inline(units_sheet(subject, model, units, title))))
        index = one_of_each(subject)[:INPUTS]
        with rows(index):
            found = semantic_attribution(
                subject.model, subject.inputs[index], subject.targets[index], model, steps=20
            )
        title = "Which units the output of the target depends on"
        pictures.append((title, inline(attribution_sheet(subject, found, index, title))))
    return template("concepts.html").render(
        subject=subject,
        networks=networks,
        model=model,
        notes=notes,
        best={name: best_unit(one) for name, one in networks.items()},
        seen=[name for name in model.concepts if any(name in one.counts for one in networks.values())],
        hidden=beyond_reach(model),
        pictures=pictures,
    )


def distinct(dissection: Dissection) -> list[int]:
    """The best unit of each concept that has one, the best first."""
    found: dict[str, int] = {}
    for unit in dissection.detectors:
        found.setdefault(dissection.names[unit], unit)
    return [*found.values()]


def best_unit(dissection: Dissection) -> float:
    """The largest IoU of any unit with any concept."""
    return float(dissection.ious.max())


def beyond_reach(dissection: Dissection) -> list[str]:
    """Concepts of which no unit can be a detector: they cover far more than the share on which one is on."""
    low = (dissection.ceilings < dissection.threshold).tolist()
    return [name for name, is_low in zip(dissection.concepts, low, strict=True) if is_low]


def one_of_each(subject: Subject) -> torch.Tensor:
    """(n,) int64: the first input of each target."""
    targets = subject.targets.tolist()
    return torch.tensor(sorted(targets.index(target) for target in set(targets)))
