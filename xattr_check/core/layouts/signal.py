"""Signals over time."""

from xattr_check.core.layouts.beside import Beside


class Signal(Beside):
    """(C, T): a feature is a time, which is so many channels."""

    name = "signal"
    axes = "(N, C, T)"
    told = "channels × times "
    rank = 2
    channels = -2
    alike = (0, 2)
    # Runs of times; 8 would be too long to tell where a wave is.
    cells = 32
