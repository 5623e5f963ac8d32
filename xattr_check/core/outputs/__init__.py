"""Outputs: what a model's outputs mean. The only place that makes probabilities of them.

One file a kind; the base says what a kind has to say.
"""

from xattr_check.core.outputs.base import Output, score
from xattr_check.core.outputs.classes import Classes
from xattr_check.core.outputs.labels import Labels
from xattr_check.core.outputs.margin import Margin
from xattr_check.core.outputs.value import Value

__all__ = ["KINDS", "Classes", "Labels", "Margin", "Output", "Value", "output_of", "score"]

# In the order in which they are named to users.
KINDS: tuple[type[Output], ...] = (Classes, Labels, Value, Margin)


def output_of(given: Output | str | None) -> Output:
    """What a method is told of the outputs that it explains; classes where that is nothing.

    Raises ValueError for a name that there is not, and for `value`, which has a mean and a deviation.
    """
    if isinstance(given, Output):
        return given
    named: dict[str | None, type[Output]] = {
        None: Classes,
        **{one.name: one for one in (Classes, Labels, Margin)},
    }
    if given not in named:
        raise ValueError(f"explained={given!r}: expected classes, labels, margin or outputs.Value.of(…)")
    return named[given]()
