"""What plugins answer, read as the words of a stranger.

Any shape may come: what is not understood is an error, never "there is none". Keys are found whatever their case, as
Go's decoder does, which most plugins are written for.
"""

from collections.abc import Mapping, Sequence
from dataclasses import field
from datetime import datetime
from typing import Any

import msgspec

from orlop.model.value import dataclass

LONGEST_TEXT = 4096


class Misunderstood(Exception):
    """The answer is none of the protocol."""


class Refused(Exception):
    """The plugin's own error, in its words."""


@dataclass(frozen=True, slots=True)
class Told:
    """A volume in the words of its plugin."""

    name: str
    mountpoint: str = ""
    created_at_ns: int = 0
    status: Mapping[str, Any] = field(default_factory=dict)


def parse_answer(method: str, status: int, body: bytes) -> dict[str, Any]:
    """By lower-case keys. Raises Refused, Misunderstood."""
    if status != 200:
        raise Refused(f"{method}: {_failure_text(body)}" if body.strip() else f"{method}: HTTP status {status}")
    found = _lowered(_decoded(method, body), method)
    error = found.get("err")
    if error is not None and not isinstance(error, str):
        raise Misunderstood(f"{method}: its Err is no text")
    if error:
        raise Refused(_shortened(error))
    return found


def _failure_text(body: bytes) -> str:
    try:
        found = _lowered(msgspec.json.decode(body), "")
        if isinstance(found.get("err"), str) and found["err"]:
            return _shortened(found["err"])
    except (msgspec.MsgspecError, RecursionError, Misunderstood):
        pass
    return _shortened(body.decode(errors="replace").strip())


def _shortened(text: str) -> str:
    shown = "".join(each if each.isprintable() or each in "\n\t" else "?" for each in text[:LONGEST_TEXT])
    return shown if len(text) <= LONGEST_TEXT else shown + "..."


def _decoded(method: str, body: bytes) -> Any:
    try:
        return msgspec.json.decode(body)
    except (msgspec.MsgspecError, RecursionError) as error:
        raise Misunderstood(f"{method}: its answer is no JSON: {error}") from error


def _lowered(found: Any, method: str) -> dict[str, Any]:
    if not isinstance(found, dict):
        raise Misunderstood(f"{method}: its answer is no JSON object")
    return {key.lower(): value for key, value in found.items()}


def parse_implements(answer: Mapping[str, Any]) -> Sequence[str]:
    found = answer.get("implements")
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise Misunderstood("Plugin.Activate: it does not say what it implements")
    return found


def parse_scope(answer: Mapping[str, Any]) -> str:
    """ "" where it says something else."""
    found = answer.get("capabilities")
    scope = _lowered(found, "").get("scope") if isinstance(found, dict) else None
    return scope.lower() if isinstance(scope, str) and scope.lower() in ("local", "global") else ""


def parse_volume(answer: Mapping[str, Any], name: str) -> Told | None:
    """Of Get. None only where it says so: there is no volume, and no error."""
    found = answer.get("volume")
    if found is None:
        return None
    told = _volume(found, "VolumeDriver.Get")
    if told.name not in ("", name):
        raise Misunderstood(f"VolumeDriver.Get: asked for {name}, it tells of {told.name[:200]!r}")
    return Told(name, told.mountpoint, told.created_at_ns, told.status)


def parse_volumes(answer: Mapping[str, Any]) -> Sequence[Told]:
    found = answer.get("volumes")
    if found is None:
        return ()
    if not isinstance(found, list):
        raise Misunderstood("VolumeDriver.List: its volumes are no list")
    told = (_volume(each, "VolumeDriver.List") for each in found)
    return tuple({each.name: each for each in told if each.name}.values())


def _volume(found: Any, method: str) -> Told:
    words = _lowered(found, method)
    name, status = words.get("name") or "", words.get("status") or {}
    if not isinstance(name, str) or not isinstance(status, dict):
        raise Misunderstood(f"{method}: a volume of its answer makes no sense")
    # Only where it is for: a nonsense place in a listing keeps no volume from being listed.
    place = words.get("mountpoint")
    shown = place if isinstance(place, str) and is_place(place) else ""
    return Told(name, shown, _moment(words.get("createdat")), status)


def parse_mountpoint(answer: Mapping[str, Any], method: str) -> str:
    """ "" where it names none. Raises Misunderstood for what cannot be a place on this host."""
    found = answer.get("mountpoint") or ""
    if not isinstance(found, str):
        raise Misunderstood(f"{method}: its mount point is no text")
    if found and not is_place(found):
        raise Misunderstood(f"{method}: its mount point {found[:200]!r} is no absolute path on this host")
    return found


def is_place(path: str) -> bool:
    parts = path.split("/")
    return path.startswith("/") and any(parts) and ".." not in parts and "\0" not in path and len(path) < 4096


def _moment(text: Any) -> int:
    """0 for none, and for what is no time."""
    if not isinstance(text, str) or not text:
        return 0
    try:
        found = msgspec.convert(text, datetime)
        return max(0, int(found.timestamp() * 1_000_000_000))
    except (msgspec.MsgspecError, ValueError, OverflowError):
        return 0
