"""The mark by which storage elsewhere is known again: a small file in the volume's folder there, with a random name.

    .orlop-mark-<32 hex>    in the storage: for which volume of which host it was made, for people
    identity                beside the volume: the same, of the storage that was mounted first

It marks the storage, not the volume: who comes later to a place that has a mark remembers that one. The name alone
counts, so two hosts that mark a place at the same moment both know it again. Containers do not see it.
"""

import json
import platform
import re
import secrets
from collections.abc import Collection
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from orlop.errors import Conflict
from orlop.model.value import dataclass
from orlop.store.files import write_durably

PREFIX = ".orlop-mark-"
PATTERN = f"{PREFIX}*"
NO_MARK = f"{PREFIX}none"  # a name that nobody gives
IF_EMPTY, ALWAYS, NEVER = "if-empty", "always", "never"  # when a mark is made where there is none
_NAME = re.compile(re.escape(PREFIX) + "([0-9a-f]{32})")


@dataclass(frozen=True, slots=True)
class Mark:
    id: str
    volume: str = ""  # for which it was made
    host: str = ""
    made: str = ""  # a day

    @property
    def file(self) -> str:
        return PREFIX + self.id

    def __str__(self) -> str:
        made_for = f" (made for volume {self.volume} of host {self.host}, {self.made})" if self.volume else ""
        return f"{self.id[:12]}{made_for}"


def new_mark(volume: str) -> Mark:
    return Mark(secrets.token_hex(16), volume, platform.node(), datetime.now(UTC).date().isoformat())


def parse_names(names: Collection[str]) -> list[str]:
    """Ids of the marks among these names of files."""
    return sorted(found[1] for name in names if (found := _NAME.fullmatch(name)))


def render_mark(mark: Mark) -> str:
    return json.dumps(asdict(mark)) + "\n"


def parse_mark(mark_id: str, text: str) -> Mark:
    """What cannot be read says nothing; the id is what counts."""
    try:
        found = json.loads(text)
        told = (str(found[key])[:64] for key in ("volume", "host", "made"))
        return Mark(mark_id, *("".join(filter(str.isprintable, each)) for each in told))
    except (ValueError, KeyError, TypeError):
        return Mark(mark_id)


def remembered(identity: Path) -> Mark | None:
    try:
        text = identity.read_text()
        return parse_mark(str(json.loads(text)["id"]), text)
    except (FileNotFoundError, ValueError, KeyError, TypeError):
        return None


def remember(identity: Path, mark: Mark) -> None:
    write_durably(identity, render_mark(mark).encode())


def refuse_other(subject: str, where: str, known: Mark, there: Mark | None, identity: Path) -> None:
    """Raises Conflict, naming both."""
    has = f"is the storage marked {there}" if there else "has no mark"
    why = f"{where} {has}, and the volume's storage is the one marked {known}"
    hint = f"Check the volume's options. To take what is there as the volume's from now on, delete {identity}"
    raise Conflict(subject, why, hint)
