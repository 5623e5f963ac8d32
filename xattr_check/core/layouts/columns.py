"""Columns of a table."""

from xattr_check.core.layouts.base import Layout


class Columns(Layout):
    """(D,): a feature is a column, which is one number; none is beside another."""

    name = "columns"
    axes = "(N, D)"
    rank = 1
    ordered = False
