"""Embedded tokens."""

from xattr_check.core.layouts.base import Layout


class Embeddings(Layout):
    """(T, E): a feature is a token, which is as many numbers as its embedding."""

    name = "embeddings"
    axes = "(N, T, E)"
    told = "tokens × numbers "
    rank = 2
    channels = -1
    # Tokens may stand anywhere: what stands for none of them is the same in all places.
    alike = (0, 1)
