"""The subjects of a battery: named before they are loaded, loaded when first asked for, and let go."""

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

import torch

from xattr_check.config.loaders import load_subject
from xattr_check.config.settings import DEFAULT_SUBJECT, Settings
from xattr_check.core import registry
from xattr_check.core.subject import Subject
from xattr_check.errors import UsageError


class NamedSubject:
    """A subject by what names it.

    label: its spec, or a name of what was given in place of one. load: makes it.
    name: as its verdicts have it; until it was loaded once, the label.
    """

    def __init__(self, label: str, load: Callable[[], Subject], *, is_spec: bool = False) -> None:
        self.label, self.name = label, label
        self._load, self._is_spec = load, is_spec
        self._loaded: Subject | None = None
        self._device: torch.device | None = None

    @property
    def is_installed(self) -> bool:
        """Whether an installed package declares it, so that it holds together."""
        # What is the user's own has a module, and no package need be imported to tell.
        return self._is_spec and ":" not in self.label and self.label in registry.subjects()

    @property
    def is_loaded(self) -> bool:
        """Whether it is there now."""
        return self._loaded is not None

    def load(self) -> Subject:
        """The subject where its maker left it, the same until it is let go. Raises UsageError."""
        if self._loaded is None:
            self._loaded = self._load()
            self.name = self._loaded.name
        return self._loaded

    def on(self, device: torch.device) -> Subject:
        """The subject on a device, where it stays. Raises UsageError."""
        if self._loaded is None or self._device != device:
            self._loaded, self._device = self.load().to(device), device
        return self._loaded

    def release(self) -> None:
        """Let go of it; it is loaded anew where it is asked for again."""
        self._loaded = self._device = None


def name_subjects(settings: Settings, given: Iterable[Any] = ()) -> list[NamedSubject]:
    """The subjects given, specs, factories or Subjects; else those of the settings, else the default one."""
    if settings.model is not None:
        return [NamedSubject(f"{settings.model} with {settings.data}", partial(_load_by_name, settings))]
    found: dict[str, NamedSubject] = {}
    for one in list(given) or settings.subjects or [DEFAULT_SUBJECT]:
        if isinstance(one, str):
            found[one] = NamedSubject(one, partial(load_subject, one), is_spec=True)
        else:
            name = str(getattr(one, "name", None) or getattr(one, "__name__", None) or one)
            names = [name, *(f"{name}#{number}" for number in range(2, len(found) + 2))]
            label = next(label for label in names if label not in found)
            found[label] = NamedSubject(label, partial(load_subject, one))
    return list(found.values())


def _load_by_name(settings: Settings) -> Subject:
    """The subject of a model and data that the settings name."""
    return registry.subjects()["torchvision"](model=settings.model, data=settings.data)


def only_subject(settings: Settings) -> NamedSubject:
    """The one subject of the settings, for what cannot serve several. Raises UsageError."""
    found = name_subjects(settings)
    if len(found) > 1:
        raise UsageError(
            option="--xattr-subject",
            expected="one subject",
            came=", ".join(subject.label for subject in found),
            hint="name one of them on the command line",
        )
    return found[0]


def expect_distinct(subjects: Iterable[NamedSubject]) -> None:
    """Raise UsageError where two subjects have one name, so that their verdicts could not be told apart."""
    by_name: dict[str, NamedSubject] = {}
    for subject in subjects:
        other = by_name.setdefault(subject.name, subject)
        if other is not subject:
            raise UsageError(
                option="--xattr-subject",
                value=subject.label,
                expected="a subject with a name of its own",
                came=f"{subject.name!r}, which {other.label!r} is called too",
                hint="give each another Subject(name, …)",
            )
