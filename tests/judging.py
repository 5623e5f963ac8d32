"""One method against one check, as the tests of checks ask for it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from xattr_check import Axiom, Subject, checks, load_method
from xattr_check.battery.battery import Beside, item
from xattr_check.battery.item import Item
from xattr_check.config.settings import Settings
from xattr_check.core import registry
from xattr_check.core.method import Method


def item_of(
    method: Any,
    check: str | Axiom,
    subject: Subject,
    *,
    known: Mapping[str, Axiom] | None = None,
    controls: Mapping[str, Method] | None = None,
    **options: Any,
) -> Item:
    """The item of a spec or a function and of a check, by name or as it is.

    known, controls: checks and controls that stand in for those that are installed. options: of an `Item`.
    """
    found = checks() if known is None else known
    beside = Beside(found, registry.controls() if controls is None else controls)
    chosen = found[check] if isinstance(check, str) else check
    return replace(item(Settings(), load_method(method), chosen, subject, beside), **options)
