"""What methods refuse, each in its own name."""

from torch import Tensor

from xattr_check.core.axes import layout_of


def expect_images(name: str, inputs: Tensor) -> None:
    """Raise ValueError in the name of a method for inputs that are not images."""
    if not layout_of(inputs).is_image:
        raise ValueError(f"{name}: expected images (N, C, H, W), came {tuple(inputs.shape)}")


def expect_at_least(name: str, least: int, **numbers: int) -> None:
    """Raise ValueError in the name of a method for the first parameter that is smaller."""
    for parameter, value in numbers.items():
        if value < least:
            raise ValueError(f"{name}: expected {parameter} of at least {least}, came {value}")


def expect_above(name: str, bound: float, **numbers: float) -> None:
    """Raise ValueError in the name of a method for the first parameter that is not larger, NaN included."""
    for parameter, value in numbers.items():
        if not value > bound:
            raise ValueError(f"{name}: expected {parameter} above {bound:g}, came {value:g}")


def expect_output(name: str, output: str) -> None:
    """Raise ValueError in the name of a method for an output that there is not."""
    if output not in ("logit", "probability"):
        raise ValueError(f"{name}: expected output 'logit' or 'probability', came {output!r}")
