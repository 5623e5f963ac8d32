"""The exceptions a user may meet. Each is one sentence: what was expected, what came, what to type."""

import copy
import copyreg
from collections.abc import Mapping
from typing import Any, Self


class XattrError(Exception):
    """Base of every error that xattr-check raises on purpose."""


class UsageError(XattrError):
    """What the caller asked for cannot be done: a spec, an option, a file.

    The sentence is rendered from the fields when it is shown, as `PLACE: OPTION='VALUE': WHAT; expected
    EXPECTED, came CAME; HINT` without those that are empty. A whole sentence may be given as `what` alone.

    what: the problem, where what was expected does not say it: "no check 'shap'".
    option: what was set, `--xattr-method`; or the noun for what has a name: `check`, `method`, `subject`.
    value: what the option was set to, or the name; None for neither.
    expected, came: what would have done, and what was there in its place.
    hint: what to type or to do.
    place: where a file says it, as FILE:LINE, or the file that is wrong.
    """

    def __init__(
        self,
        what: str = "",
        *,
        option: str = "",
        value: object = None,
        expected: str = "",
        came: str = "",
        hint: str = "",
        place: str = "",
    ) -> None:
        super().__init__(what)
        self.what = what
        self.option = option
        self.value = value
        self.expected = expected
        self.came = came
        self.hint = hint
        self.place = place

    def __str__(self) -> str:
        expected = f"expected {self.expected}" if self.expected else ""
        came = f"came {self.came}" if self.came else ""
        problem = _join(", ", _join("; ", self.what, expected), came)
        return _join(": ", self.place, self._subject, _join("; ", problem, self.hint))

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self)!r})"

    def __reduce__(self) -> tuple[Any, ...]:
        # Without __init__, of which a subclass may ask other arguments.
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]

    @property
    def _subject(self) -> str:
        """What the sentence is about: `--xattr-seed='many'`, `patch=3` or `check 'deletion'`."""
        if self.value is None or not self.option:
            return self.option
        named = isinstance(self.value, str) and not self.option.startswith("-")
        shown = f"{self.value:g}" if isinstance(self.value, float) else repr(self.value)
        return f"{self.option}{' ' if named else '='}{shown}"

    def about(self, option: str, value: object = None) -> Self:
        """The same error about another option and value, as the user typed them."""
        return self._with(option=option, value=value)

    def at(self, place: str) -> Self:
        """The same error at a place; one that has a place already keeps it."""
        return self._with(place=self.place or place)

    def advising(self, hint: str) -> Self:
        """The same error with a hint more; none is added where it is empty."""
        return self._with(hint=_join("; ", self.hint, hint))

    def _with(self, **fields: Any) -> Self:
        changed = copy.copy(self)
        vars(changed).update(fields)
        return changed


def _join(separator: str, *parts: str) -> str:
    """The parts that are not empty, with a separator between them."""
    return separator.join(part for part in parts if part)


class SubjectError(UsageError):
    """A subject does not hold together: no inputs, mismatched targets, a model of the wrong rank."""


class LayoutError(SubjectError, ValueError):
    """The axes of inputs do not fit the layout that was given, or may mean two things where none was."""


class ConceptError(UsageError, ValueError):
    """Units of a model cannot be held against concepts: no such layer, no masks, masks of another shape."""


class Declined(XattrError, ValueError):
    """Raised by a method for a model that it does not serve; carries why, in one sentence."""


class MethodError(XattrError):
    """The method under test broke its contract: it raised, hung, or returned unusable maps.

    fault: the kind of exception that it raised on a batch of inputs, and where, or that its maps are of
        another shape or type; empty for all else.
    """

    def __init__(self, story: str, fault: str = "") -> None:
        super().__init__(story)
        self.fault = fault


class ContextError(XattrError, ValueError):
    """A model was called without its other inputs, or with rows that cannot be those of its inputs."""


class UnknownInput(XattrError, LookupError):
    """The truth was asked for about an input that is not the subject's own."""


class Undefined(Exception):
    """Raised by `measure` or `on` where the statistic has no meaning on this subject; carries the reason.

    ask: parameters of the check with which it has one, where they are known.
    lacks: what it needs that the subject could be given.
    """

    def __init__(
        self, reason: str = "", ask: Mapping[str, Any] | None = None, lacks: tuple[str, ...] = ()
    ) -> None:
        super().__init__(reason)
        self.ask = dict(ask or {})
        self.lacks = lacks


class Invalid(Exception):
    """Raised by `measure` or `on` where the check says nothing about a subject; carries why, with figures."""
