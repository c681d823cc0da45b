"""What is asked of a move of a volume, how far it is, what came of it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import field
from enum import StrEnum

from orlop.errors import Malformed
from orlop.model.value import dataclass
from orlop.model.volume import RetiredVolume, Volume
from orlop.store.mirror_words import Aspect


@dataclass(frozen=True, slots=True)
class MoveWish:
    driver: str
    options: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)  # besides those that it has
    may_stop: bool = False  # containers that have files open on it may be stopped for a moment
    may_lose: frozenset[Aspect] = frozenset()  # where the target's storage cannot keep it


def word_of(aspect: Aspect) -> str:
    """As people say it."""
    return aspect.name.lower().replace("_", "-")


def parse_losses(words: Iterable[str]) -> frozenset[Aspect]:
    """Raises Malformed."""
    known = {word_of(aspect): aspect for aspect in Aspect}
    for word in words:
        if word not in (*known, "all"):
            hint = f"It can be all, {', '.join(known)}"
            raise Malformed("", f"{word!r} is nothing that storage can fail to keep", hint)
    return frozenset(Aspect) if "all" in words else frozenset(known[word] for word in words)


class Phase(StrEnum):
    COPYING = "copying"  # while it is in use
    UPLOADING = "uploading"  # what the target's storage has not yet got
    STOPPING = "stopping"  # containers that have files open
    SETTLING = "settling"  # the rest, while its users stand still
    COMPARING = "comparing"
    SWITCHING = "switching"


@dataclass(frozen=True, slots=True)
class MoveProgress:
    phase: Phase
    pass_number: int = 0
    entries: int = 0  # of this pass or comparison
    size_bytes: int = 0  # likewise


Tell = Callable[[MoveProgress], None]  # may raise to end the move


@dataclass(frozen=True, slots=True)
class MoveUser:
    """A running container that uses the volume."""

    container_id: str
    why_stopped: str = ""  # why it cannot go on without a stop; "" where it can


@dataclass(frozen=True, slots=True)
class MovePreview:
    """What a move would do, as things are now."""

    volume: Volume
    to: str  # driver
    size_bytes: int  # -1: nobody counted
    users: tuple[MoveUser, ...]


@dataclass(frozen=True, slots=True)
class MoveResult:
    volume: Volume
    retired: RetiredVolume | None  # None: its driver keeps it, and cannot retire volumes
    passes: int
    entries: int
    sent_bytes: int  # in all passes
    left_out: Sequence[tuple[str, str]]  # path and why, the first of them
    left_out_count: int
    lost: Sequence[str]  # what the target cannot keep, in words
    stood_still_seconds: float
    live: tuple[str, ...]  # ids of containers that went on
    restarted: tuple[str, ...]  # ids of containers that were stopped and started again
    failures: tuple[str, ...] = ()  # of those that were to be started again
