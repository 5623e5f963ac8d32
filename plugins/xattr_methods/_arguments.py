"""What methods refuse, each in its own name."""

import math
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

from xattr_check.core.layouts import Beside, Layout, is_image, layout_of
from xattr_check.errors import Declined, LayoutError


@contextmanager
def in_the_name_of(name: str) -> Iterator[None]:
    """A scope in which a ValueError says which method it is of, as does one that a method declines by."""
    try:
        yield
    except Declined as error:
        raise Declined(f"{name}: {error}") from None
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def expect_images(name: str, inputs: Tensor) -> None:
    """Raise ValueError in the name of a method for inputs that are not images."""
    if not is_image(inputs):
        raise ValueError(f"{name}: expected images (N, C, H, W), came {tuple(inputs.shape)}")


def neighbours_of(name: str, inputs: Tensor, layout: Layout | str | None) -> Beside:
    """The layout of images, signals or volumes. Raises ValueError in the name of a method for others."""
    found = laid_out(name, inputs, layout)
    if not isinstance(found, Beside):
        raise ValueError(
            f"{name}: expected images (N, C, H, W), signals or volumes, "
            f"came {found.name} {tuple(inputs.shape)}"
        )
    return found


def laid_out(name: str, inputs: Tensor, layout: Layout | str | None) -> Layout:
    """The layout of inputs. Raises ValueError in the name of a method where it is in doubt or another one."""
    try:
        return layout_of(inputs, layout)
    except LayoutError as error:
        raise ValueError(f"{name}: {error}") from None


def expect_at_least(name: str, least: int, **numbers: float) -> None:
    """Raise ValueError in the name of a method for the first parameter that is smaller, or not finite."""
    for parameter, value in numbers.items():
        if not least <= value < math.inf:
            raise ValueError(f"{name}: expected {parameter} of at least {least}, came {value}")


def expect_counts(name: str, **numbers: int) -> None:
    """Raise ValueError in the name of a method for the first parameter that is no whole number above 0."""
    for parameter, value in numbers.items():
        if not isinstance(value, int) or isinstance(value, bool):
            raise ValueError(f"{name}: expected {parameter} to be a whole number, came {value!r}")
        expect_at_least(name, 1, **{parameter: value})


def expect_above(name: str, bound: float, **numbers: float) -> None:
    """Raise ValueError in the name of a method for the first parameter that is not larger, or not finite."""
    for parameter, value in numbers.items():
        if not bound < value < math.inf:
            finite = "a finite " if value == math.inf else ""
            raise ValueError(f"{name}: expected {finite}{parameter} above {bound:g}, came {value:g}")


def expect_finite(name: str, **numbers: float | Tensor) -> None:
    """Raise ValueError in the name of a method for the first parameter that is not finite, or holds such."""
    for parameter, value in numbers.items():
        if isinstance(value, Tensor):
            broken = int((~torch.isfinite(value)).sum())
            came = f"{broken} of {value.numel()} values that are not" if broken else ""
        else:
            came = "" if math.isfinite(value) else f"{value:g}"
        if came:
            raise ValueError(f"{name}: expected {parameter} to be finite, came {came}")


def like_inputs(name: str, inputs: Tensor, **given: float | Tensor) -> Tensor:
    """One parameter, a number or a tensor, for each value of the inputs (N, *F), on their device.

    Raises ValueError in the name of a method where it does not broadcast to inputs, or is not finite.
    """
    ((parameter, value),) = given.items()
    expect_finite(name, **given)
    made = torch.as_tensor(value, dtype=inputs.dtype, device=inputs.device).detach()
    try:
        return made.expand_as(inputs)
    except RuntimeError:
        raise ValueError(
            f"{name}: expected a number as {parameter}, or what broadcasts to {tuple(inputs.shape)}, "
            f"came {tuple(made.shape)}"
        ) from None


def expect_output(name: str, output: str) -> None:
    """Raise ValueError in the name of a method for an output that there is not."""
    if output not in ("logit", "probability"):
        raise ValueError(f"{name}: expected output 'logit' or 'probability', came {output!r}")
