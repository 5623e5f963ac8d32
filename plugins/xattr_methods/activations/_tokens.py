"""Tokens of a transformer as features of its inputs."""

from torch import Size, Tensor

from xattr_check.core.layouts import Beside, Layout
from xattr_check.errors import Declined


def on_features(
    name: str, values: Tensor, axes: Layout, convolved: list[tuple[int, ...]], *, class_last: bool = False
) -> Tensor:
    """Maps (N, *map_shape) of values (N, T) of tokens. Raises Declined where these are not those of features.

    Tokens that are of no feature, as those of a class and of registers, stand before the others.
    convolved: the cells of convolutions below the tokens, one of which may have made the patches.
    class_last: whether tokens that are of no feature stand behind the others.
    """
    tokens = values.shape[1]
    cells = patches(axes, convolved, tokens) if isinstance(axes, Beside) else axes.spatial
    count = Size(cells).numel()
    if not cells or count > tokens:
        raise Declined(
            f"{name}: expected a token for each feature or patch of {axes.name} {axes.spatial}, "
            f"came {tokens} tokens; use xattr:integrated_gradients, which takes any"
        )
    kept = values[:, :count] if class_last else values[:, tokens - count :]
    return (
        axes.enlarged(kept.unflatten(1, cells).unsqueeze(1)) if isinstance(axes, Beside) else axes.maps(kept)
    )


def patches(axes: Beside, convolved: list[tuple[int, ...]], tokens: int) -> tuple[int, ...]:
    """How many patches there are along each axis: the most that so many tokens can be.

    As many as cells of a convolution, or else a grid of the shape of the input; none where there is none.
    """
    made = [cells for cells in convolved if len(cells) == len(axes.spatial)]
    first = axes.spatial[0]
    alike = [
        tuple(side * number // first for side in axes.spatial)
        for number in range(1, first + 1)
        if all(side * number % first == 0 for side in axes.spatial)
    ]
    for known in (made, alike):
        fitting = [cells for cells in known if Size(cells).numel() <= tokens]
        if fitting:
            return max(fitting, key=lambda cells: Size(cells).numel())
    return ()
