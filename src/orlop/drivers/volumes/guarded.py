"""Somebody else's driver as the engine may use it: whatever goes wrong in it is an error with its name on it.

The engine expects errors of `orlop.errors` and of the operating system. A defect in a driver raises others, or answers
with something else than the contract says; here both become a HostFailure that names driver, call and line. Abilities
show through: what the driver has, the guarded one has, and nothing else.
"""

import inspect
import logging
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from orlop.drivers.volumes.abilities import abilities_of
from orlop.drivers.volumes.driver import StoredVolume, VolumeDriver, members_of
from orlop.errors import HostFailure, OrlopError

log = logging.getLogger(__name__)

_ANSWERS: dict[str, type] = {
    **dict.fromkeys(("create", "get", "restore", "reveal", "rename", "adopt"), StoredVolume),
    **dict.fromkeys(("list_volumes", "list_retired", "list_staged", "names", "look", "seen"), Sequence),
    **dict.fromkeys(("attach", "stage", "prepare", "mend"), Path),
}


def guarded(driver: VolumeDriver) -> VolumeDriver:
    members = {"name": driver.name, "scope": driver.scope}
    for contract in (VolumeDriver, *abilities_of(driver)):
        for member in members_of(contract):
            is_value = isinstance(inspect.getattr_static(contract, member), property)
            members.setdefault(member, property(_reading(driver, member)) if is_value else _calling(driver, member))  # type: ignore[arg-type]
    found: VolumeDriver = type("Guarded", (), members)()
    return found


def _reading(driver: VolumeDriver, member: str) -> Callable[[object], Any]:
    return lambda _self: _checked(driver.name, member, lambda: getattr(driver, member))


def _calling(driver: VolumeDriver, member: str) -> Callable[..., Any]:
    def call(_self: object, *given: Any, **named: Any) -> Any:
        return _checked(driver.name, member, lambda: getattr(driver, member)(*given, **named))

    return call


def _checked(name: str, member: str, ask: Callable[[], Any]) -> Any:
    try:
        answer = ask()
    except (OrlopError, OSError):
        raise
    except Exception as error:
        log.debug("volume driver %s failed in %s", name, member, exc_info=True)
        raise _defect(name, f"it failed in {member}: {describe_defect(error)}") from error
    wanted = _ANSWERS.get(member)
    if wanted is not None and not isinstance(answer, wanted):
        raise _defect(name, f"it answered {member} with {type(answer).__name__}, and not with a {wanted.__name__}")
    return answer


def _defect(name: str, why: str) -> HostFailure:
    return HostFailure(f"volume driver {name}", why, "That is a defect of the driver: tell who wrote it")


def describe_defect(error: BaseException) -> str:
    """In one line: what was raised, and where."""
    said = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(": ")
    frames = traceback.extract_tb(error.__traceback__)
    where = frames[-1] if frames else None
    return f"{said} ({where.filename}:{where.lineno})" if where else said
