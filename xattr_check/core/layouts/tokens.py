"""Tokens by their ids."""

from xattr_check.core.layouts.embeddings import Embeddings


class Tokens(Embeddings):
    """(T, E): a feature is a token, given as an id, which the model's embedding makes E numbers of."""

    name = "tokens"
    axes = "(N, T) ids"

    @property
    def map_shapes(self) -> list[tuple[int, ...]]:
        """As of embeddings, or one number for each token without an axis more: (T, E), (T, 1) or (T,)."""
        return [*super().map_shapes, self.spatial]
