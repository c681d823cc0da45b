"""Volumes: data that outlives containers.

A volume's life: created -> (used by containers) -> retired -> purged, and back from retired by restore. Retiring
takes it out of sight and frees its name; only the purge of a retired volume destroys bytes.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import field
from itertools import islice

from orlop.errors import Malformed
from orlop.model.cluster import ACCESS, Access
from orlop.model.on_hang import for_driver
from orlop.model.secret import is_reference
from orlop.model.value import dataclass

ANONYMOUS_LABEL = "com.docker.volume.anonymous"
PROTECT_LABEL = "orlop.protect"  # "true": refused by rm and prune until the label is taken off
DEFAULT_DRIVER = "local"


@dataclass(frozen=True, slots=True)
class Volume:
    name: str
    id: str  # 64 hex; stays when the name changes hands
    driver: str
    created_at_ns: int
    mountpoint: str  # host path, "" where the driver has none until it is mounted
    labels: Mapping[str, str] | None = None  # None and {} differ on the wire
    options: Mapping[str, str] | None = None
    scope: str = "local"
    problem: str = ""  # why it cannot be used as it is now; found out by looking, never remembered
    aliases: tuple[str, ...] = ()  # names it had before and still answers to
    is_shared: bool = False  # it stands in the catalogue of a cluster, under this name and id

    @property
    def is_read_only(self) -> bool:
        return self.is_shared and (self.options or {}).get(ACCESS) == Access.ROX

    @property
    def is_protected(self) -> bool:
        return (self.labels or {}).get(PROTECT_LABEL, "").lower() in ("true", "1", "yes")

    @property
    def is_anonymous(self) -> bool:
        return ANONYMOUS_LABEL in (self.labels or {})

    @property
    def mounts_its_content(self) -> bool:
        """Whether its options say where its bytes are. Options that only limit or own what lies here do not."""
        return mounts_content(self.driver, self.options)


_MOST_OF_NAME = 200  # characters of a volume's name in that of a move's target


def hidden_target(name: str, mark: str) -> str:
    """The name that the target of a move has until it is the volume."""
    return f"{name[:_MOST_OF_NAME]}.moving-{mark}"


def is_hidden_target(found: str, name: str) -> bool:
    """Whether it is such a name, of a move of the volume `name`."""
    return found.startswith(hidden_target(name, ""))


def mounts_content(driver: str, options: Mapping[str, str] | None) -> bool:
    own = for_driver(options)
    if driver != DEFAULT_DRIVER:
        return bool(own)
    return bool(own.get("type") or own.get("device"))


@dataclass(frozen=True, slots=True)
class RetiredVolume:
    """A removed volume that can still be restored, until `purge_at_ns`."""

    id: str
    volume: Volume
    retired_at_ns: int
    purge_at_ns: int
    reason: str = ""  # the call that removed it, for the listing


@dataclass(frozen=True, slots=True)
class VolumeUse:
    """A container's durable hold on a volume; taken at create, let go at remove. Kept under "<volume>/<container>"."""

    volume: str  # as the container knows it: its name, or an alias
    container_id: str
    made_for: bool = False  # the volume was made for this container, and goes when its creation fails


@dataclass(frozen=True, slots=True)
class VolumeUser:
    """A container that holds a volume, and one place where it mounts it."""

    container_id: str
    container: str  # its name
    destination: str  # "" while the container is being made
    writable: bool
    is_running: bool


@dataclass(frozen=True, slots=True)
class VolumeFacts:
    """What was seen of a volume, kept under its id. Nothing depends on it: lost facts are measured again."""

    size_bytes: int = -1  # apparent; -1: never measured
    disk_bytes: int = -1
    entries: int = -1
    last_write_ns: int = 0  # newest change seen by the last measurement
    measured_at_ns: int = 0
    last_mounted_at_ns: int = 0
    last_unmounted_at_ns: int = 0
    last_container: str = ""  # name of the container that mounted it last, as it was then
    last_container_id: str = ""


@dataclass(frozen=True, slots=True)
class RetirementPolicy:
    """How long a removed volume can be restored. With a grace of 0 a removal destroys at once, as Docker's does."""

    named_seconds: int = 24 * 3600
    anonymous_seconds: int = 3600
    low_disk_percent: float = 5.0  # below this much free space, retired volumes go early, the oldest first

    def purge_at_ns(self, volume: Volume, now_ns: int) -> int:
        seconds = self.anonymous_seconds if volume.is_anonymous else self.named_seconds
        return now_ns + seconds * 1_000_000_000


@dataclass(frozen=True, slots=True)
class PruneReport:
    removed: tuple[str, ...] = field(default_factory=tuple)
    reclaimed_bytes: int = 0


# Words of mount options, and names of driver options, whose values nobody is shown.
_SECRET = re.compile(
    r"(?i)(?!.*(host|public)[_-]?key$)(.*[_.-])?(pass(word|wd|phrase|code)?[0-9]*|pwd|secret|token|credential"
    r"|((access|secret|api|private|account|shared|master|encryption)[_-]?)?key)"
)
_USER_IN_URL = re.compile(r"(//[^/@:]*):.*@")  # to the last @: a password may hold anything, written carelessly
_QUERY_OF_URL = re.compile(r"([?&;])([^=&;?,]+)=([^&;]*)")
HIDDEN = "********"


def hide_secret_words(words: str) -> str:
    """Mount options ("rw,username=me,password=...") as they may be shown."""
    return ",".join(_hide_word(word) for word in _split_words(words))


def _split_words(words: str) -> list[str]:
    """Two commas in a row are one in a value, as for cifs, so what follows them belongs to the secret before."""
    found: list[str] = []
    waiting = iter(words.split(","))
    in_secret = False
    for word in waiting:
        if in_secret and not word:
            found[-1] += ",".join(("", word, *islice(waiting, 1)))
            continue
        in_secret = _is_secret(word)
        found.append(word)
    return found


def _is_secret(word: str) -> bool:
    key, separator, _ = word.partition("=")
    return bool(separator) and _SECRET.fullmatch(key.strip()) is not None


def _hide_word(word: str) -> str:
    key, _, value = word.partition("=")
    if _is_secret(word):
        return word if is_reference(value) else f"{key}={HIDDEN}"
    if key.strip().lower() in ("user", "username") and "%" in value:
        return f"{key}={value.partition('%')[0]}%{HIDDEN}"
    return word


def hide_in_device(device: str) -> str:
    """A device, which may be a URL with somebody's password in it, as it may be shown."""
    shown = _USER_IN_URL.sub(rf"\1:{HIDDEN}@", device)
    return _QUERY_OF_URL.sub(
        lambda found: f"{found[1]}{found[2]}={HIDDEN}" if _SECRET.fullmatch(found[2]) else found[0], shown
    )


def hide_secrets(options: Mapping[str, str]) -> dict[str, str]:
    """Driver options as they may be shown."""
    return {
        key: HIDDEN if _SECRET.fullmatch(key) and not is_reference(value) else hide_in_device(hide_secret_words(value))
        for key, value in options.items()
    }


def secret_values(options: Mapping[str, str]) -> Iterator[str]:
    """What `hide_secrets` hides. References to secrets are none."""
    for key, value in options.items():
        if is_reference(value):
            continue
        if _SECRET.fullmatch(key):
            yield value
            continue
        for word in _split_words(value):
            name, _, said = word.partition("=")
            if _is_secret(word) and not is_reference(said):
                yield said
            elif name.strip().lower() in ("user", "username") and "%" in said:
                yield said.partition("%")[2]
        yield from (found[0].removeprefix(f"{found[1]}:")[:-1] for found in _USER_IN_URL.finditer(value))
        yield from (found[3] for found in _QUERY_OF_URL.finditer(value) if _SECRET.fullmatch(found[2]))


def keep_secrets(wanted: Mapping[str, str], stored: Mapping[str, str]) -> dict[str, str]:
    """Options as they come back from somebody who was shown the hidden ones: what is still hidden keeps its value.
    Raises Malformed for a hidden value where none is stored."""
    return {key: _keep_secret(key, value, stored.get(key)) for key, value in wanted.items()}


def _keep_secret(key: str, value: str, stored: str | None) -> str:
    if HIDDEN not in value:
        return value
    if stored is not None and hide_secrets({key: stored})[key] == value:
        return stored
    stored = stored or ""
    known = {_hide_word(word): word for word in _split_words(stored)}
    revealed = ",".join(known.get(word, word) for word in value.split(","))
    for shown, real in _secrets_of_url(stored):
        revealed = revealed.replace(shown, real)
    if HIDDEN in revealed:
        why = f"the value of {key} is hidden ({HIDDEN}) and there is no stored one to keep"
        raise Malformed("update", why, "Give the value itself")
    return revealed


def _secrets_of_url(stored: str) -> Iterator[tuple[str, str]]:
    """As they are shown, and as they are."""
    for found in _USER_IN_URL.finditer(stored):
        yield f"{found[1]}:{HIDDEN}@", found[0]
    for found in _QUERY_OF_URL.finditer(stored):
        yield f"{found[2]}={HIDDEN}", f"{found[2]}={found[3]}"
