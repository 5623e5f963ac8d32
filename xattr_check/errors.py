"""The exceptions a user may meet. Each carries one sentence: what was expected, what came, what to type."""


class XattrError(Exception):
    """Base of every error that xattr-check raises on purpose."""


class UsageError(XattrError):
    """The caller asked for something that cannot be done: a spec, an option, a file."""


class SubjectError(UsageError):
    """A subject does not hold together: no inputs, mismatched targets, a model of the wrong rank."""


class MethodError(XattrError):
    """The method under test broke its contract: it raised, hung, or returned unusable maps."""


class UnknownInput(XattrError, LookupError):
    """The truth was asked for about an input that is not the subject's own."""


class Undefined(Exception):
    """Raised by `measure` or `on` where the statistic has no meaning on this subject; carries the reason."""


class Invalid(Exception):
    """Raised by `measure` or `on` where the check says nothing about a subject; carries why, with figures."""
