"""Volumes."""

from xattr_check.core.layouts.beside import Beside


class Volume(Beside):
    """(C, D, H, W): a feature is a voxel, which is so many channels."""

    name = "volume"
    axes = "(N, C, D, H, W)"
    rank = 4
    channels = -4
    alike = (0, 2, 3, 4)
    # 64 cubes, as many as an image has squares.
    cells = 4

    def stride_of(self, window: int) -> int:
        """Half of the window or more: there are many in three directions."""
        return -(-window // 2)
