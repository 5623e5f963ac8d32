"""Settings: what xattr.yaml may say, read with the lines of its mistakes."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, replace
from typing import Any

from xattr_check.core.run import BUDGETS, Budget
from xattr_check.errors import UsageError
from xattr_check.statistics.gate import Gate

DEFAULT_SUBJECT = "digits"
# For all methods, or for one method by its spec.
PerMethod = Mapping[str, Any]


def any_of(expressions: Sequence[str] | None) -> str | None:
    """The expression of what any of several select; None for None."""
    if not expressions:
        return None
    return expressions[0] if len(expressions) == 1 else " or ".join(f"({one})" for one in expressions)


@dataclass(frozen=True)
class Terms:
    """What methods are held to on one subject, besides what they are on all, or in its place.

    gates, claims, expected_failures: as of `Settings`.
    """

    gates: Mapping[str, Gate] = field(default_factory=dict)
    claims: PerMethod = field(default_factory=dict)
    expected_failures: PerMethod = field(default_factory=dict)


@dataclass(frozen=True)
class Settings:
    """What a run is asked to do. Every field is a key of xattr.yaml and an option of the command line.

    subjects: their specs, the default one where there is none.
    expected_failures: by check, or by method and check, a reason or an ExpectedFailure.
    claims: exact axioms that every method is held to, or by method.
    gates: gates by check: {at_most: x}, {at_least: x} or {beats: x}.
    save: the name to save the run under, '' for that of its commit; None not to save it, but with autosave.
    compare: the run to compare with, '' for the last one; None not to compare.
    compare_fail: rules that a change may not break, see `history.rules`; those of
        a file wait for a comparison.
    """

    methods: Sequence[str] = ()
    subjects: Sequence[str] = ()
    model: str | None = None
    data: str | None = None
    checks: str | None = None
    budget: Budget = "quick"
    seed: int = 0
    device: str = "auto"
    strict: bool = False
    storage: str = ".xattr"
    timeout: float = 300.0
    memory: int = 256
    json: str | None = None
    html: str | None = None
    markdown: str | None = None
    save: str | None = None
    autosave: bool = False
    compare: str | None = None
    compare_fail: str = ""
    gates: Mapping[str, Gate] = field(default_factory=dict)
    claims: PerMethod = field(default_factory=dict)
    expected_failures: PerMethod = field(default_factory=dict)
    # What a file says of single subjects, by their specs.
    by_subject: Mapping[str, Terms] = field(default_factory=dict)
    # Methods that a file names beside those that the command line put in their place.
    others: Sequence[str] = ()
    # Where a file says what of this is from it, FILE:LINE by key and names in it.
    places: Mapping[tuple[str, ...], str] = field(default_factory=dict, compare=False, repr=False)

    def __post_init__(self) -> None:
        if self.budget not in BUDGETS:
            raise UsageError(option="--xattr-budget", value=self.budget, expected=", ".join(BUDGETS))
        if not self.timeout > 0:
            raise UsageError(
                option="--xattr-timeout", value=float(self.timeout), expected="seconds greater than 0"
            )
        if self.memory < 1:
            raise UsageError(option="--xattr-memory", value=self.memory, expected="at least 1, in MiB")
        # A file says the rule for whoever compares.
        if self.compare_fail and self.compare is None and ("compare_fail",) not in self.places:
            raise UsageError(
                option="--xattr-compare-fail", expected="--xattr-compare beside it, to know with what"
            )
        if (self.model is None) != (self.data is None):
            given, missing = ("model", "data") if self.model else ("data", "model")
            raise UsageError(
                option=f"--xattr-{given}",
                expected=f"--xattr-{missing} beside it, for example --xattr-model=torchvision:resnet50 "
                "--xattr-data=imagefolder:PATH",
            )
        if self.model is not None and self.subjects:
            raise UsageError(
                option="--xattr-subject",
                expected="either it or --xattr-model with --xattr-data",
                came="both",
            )

    @property
    def saves(self) -> bool:
        """Whether the run is to be saved."""
        return self.autosave or self.save is not None

    def deviations(self) -> dict[str, Any]:
        """The options that decide what is measured, where they are not as by default."""
        names = ("model", "data", "budget", "seed", "device")
        default = Settings()
        # Which of several a result is on, each says for itself.
        subject = {"subject": self.subjects[0]} if len(self.subjects) == 1 else {}
        return subject | {
            name: value for name in names if (value := getattr(self, name)) != getattr(default, name)
        }

    def on(self, subject: str) -> "Settings":
        """These settings as they hold on one subject, by its spec."""
        own = self.by_subject.get(subject)
        if own is None:
            return self
        return replace(
            self,
            gates={**self.gates, **own.gates},
            claims=_join(self.claims, own.claims),
            expected_failures=_join(self.expected_failures, own.expected_failures),
        )

    @property
    def terms(self) -> "Iterator[tuple[tuple[str, ...], Terms | Settings]]":
        """All that methods are held to, each with the names in a file under which it stands."""
        yield (), self
        for subject, own in self.by_subject.items():
            yield ("subjects", subject), own

    def override(self, **options: Any) -> "Settings":
        """These settings with the options that are not None in their place.

        A subject takes the place of a model with its data, and the other way round.
        """
        given = {key: value for key, value in options.items() if value is not None}
        if given.keys() & {"model", "data"}:
            given.setdefault("subjects", ())
        elif "subjects" in given:
            given |= {"model": None, "data": None}
        # What a file says of single subjects stays, whichever are judged on.
        places = {
            names: at
            for names, at in self.places.items()
            if names[0] not in given or (names[0] == "subjects" and len(names) > 1)
        }
        return replace(self, **given, others=(*self.methods, *self.others), places=places)

    def place_of(self, *names: str) -> str:
        """Where a file says what is under these names, as FILE:LINE; an empty string where none does."""
        return self.places.get(names, "")

    @contextmanager
    def placing_mistakes(self) -> Iterator[None]:
        """Tell of a UsageError about an option where the file says it, if it is from there."""
        try:
            yield
        except UsageError as error:
            key = KEYS.get(error.option, "")
            place = self.place_of(key, str(error.value)) or self.place_of(key)
            raise error.at(place) from error.__cause__


def _join(everywhere: PerMethod, here: PerMethod) -> dict[str, Any]:
    """Claims, or expected failures, of one subject and of all: those of the subject where both say one."""
    found = dict(everywhere)
    for name, own in here.items():
        other = found.get(name)
        if isinstance(own, list) and isinstance(other, list):
            found[name] = [*other, *own]
        elif isinstance(own, dict) and isinstance(other, dict):
            found[name] = {**other, **own}
        else:
            found[name] = own
    return found


# The key of xattr.yaml for each option of the command line that is one.
KEYS = {f"--xattr-{item.name.replace('_', '-')}": item.name for item in fields(Settings)}
for _name in ("method", "subject"):
    KEYS[f"--xattr-{_name}"] = KEYS.pop(f"--xattr-{_name}s")
