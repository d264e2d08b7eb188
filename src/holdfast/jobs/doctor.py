"""Doctor: does this computer have what Holdfast needs, and if not, what is to be done? Judges what probes found."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from holdfast.core.errors import HoldfastError

_VERSION = re.compile(r"\d+(?:\.\d+)+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One thing that was looked at: what was found, what is needed, and what to do if they differ."""

    name: str
    ok: bool
    found: str
    needed: str
    remedy: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """All checks; ok if each is."""

    ok: bool
    checks: tuple[Check, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Probe:
    """How to look at one thing. `look` returns what it found and raises HoldfastError if that will not do."""

    name: str
    needed: str
    look: Callable[[], str]


def examine(probes: Iterable[Probe]) -> Checkup:
    """Look at everything; a check that fails does not keep the others from being made."""
    checks = tuple(_examine_one(probe) for probe in probes)
    return Checkup(ok=all(check.ok for check in checks), checks=checks)


def require_version(text: str, minimum: str) -> bool:
    """Whether the first dotted version in `text` is `minimum` or later; False if there is none."""
    found = _VERSION.search(text)
    return found is not None and _numbers(found[0]) >= _numbers(minimum)


def _examine_one(probe: Probe) -> Check:
    try:
        return Check(name=probe.name, ok=True, found=probe.look(), needed=probe.needed)
    except HoldfastError as error:
        return Check(name=probe.name, ok=False, found=error.message, needed=probe.needed, remedy=error.hint)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
