"""Embedded tokens."""

from xattr_check.core.layouts.base import Layout


class Embeddings(Layout):
    """(T, E): a feature is a token, which is as many numbers as its embedding."""

    name = "embeddings"
    axes = "(N, T, E)"
    told = "tokens × numbers "
    rank = 2
    channels = -1
