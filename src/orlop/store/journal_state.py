"""Can a journal still be used? Asked without touching it: whatever is broken stays as it was found.

SQLite writes to what it opens (it takes in the log beside a database), so a copy is opened.
"""

import shutil
import sqlite3
import tempfile
from collections.abc import Mapping
from contextlib import closing
from dataclasses import field
from enum import StrEnum
from pathlib import Path

import msgspec

from orlop.model.container import Container
from orlop.model.image import Image, Layer, Tag
from orlop.model.network import Network
from orlop.model.plugin import Plugin
from orlop.model.value import dataclass
from orlop.model.volume import RetiredVolume, Volume, VolumeFacts, VolumeUse
from orlop.store.journal import KINDS
from orlop.store.journal_file import glance, journal_files

_TYPES: Mapping[str, type] = {
    "containers": Container,
    "images": Image,
    "layers": Layer,
    "tags": Tag,
    "networks": Network,
    "volumes": Volume,
    "retired": RetiredVolume,
    "uses": VolumeUse,
    "facts": VolumeFacts,
    "plugins": Plugin,
}


class JournalState(StrEnum):
    MISSING = "missing"
    BROKEN = "broken"
    SOUND = "sound"


@dataclass(frozen=True, slots=True)
class Judgement:
    state: JournalState
    why: str = ""
    counts: Mapping[str, int] = field(default_factory=dict)  # records by kind, of a sound one


def judge(path: Path) -> Judgement:
    """Reads all of it. Raises OSError where that fails."""
    files = journal_files(path)
    if not files:
        return Judgement(JournalState.MISSING, "it is not there")
    if wrong := glance(path):
        return Judgement(JournalState.BROKEN, wrong)
    with tempfile.TemporaryDirectory(prefix="orlop-journal-") as folder:
        for file in files:
            if not file.name.endswith("-shm"):
                shutil.copyfile(file, Path(folder, file.name))
        try:
            with closing(sqlite3.connect(Path(folder, path.name), isolation_level=None)) as database:
                return _judge_copy(database)
        except sqlite3.Error as error:
            return Judgement(JournalState.BROKEN, f"it is damaged: {error}")


def _judge_copy(database: sqlite3.Connection) -> Judgement:
    complaints = [str(row[0]) for row in database.execute("PRAGMA integrity_check(3)")]
    if complaints != ["ok"]:
        return Judgement(JournalState.BROKEN, f"it is damaged: {'; '.join(' '.join(complaints).split(chr(10)))}")
    tables = {row[0] for row in database.execute("SELECT name FROM sqlite_master WHERE type='table'")}
    missing = sorted({"volumes", "containers", "images"} - tables)
    if missing:
        return Judgement(JournalState.BROKEN, f"it has no table of {missing[0]}")
    counts = {}
    for kind in KINDS:
        if kind not in tables:
            continue
        rows = database.execute(f"SELECT id, record FROM {kind}").fetchall()  # noqa: S608 - kind is one of KINDS
        for record_id, record in rows:
            try:
                msgspec.json.decode(record, type=_TYPES.get(kind, msgspec.Raw))
            except (msgspec.DecodeError, TypeError) as error:
                return Judgement(JournalState.BROKEN, f"the record of {kind} {record_id!r} is unreadable: {error}")
        counts[kind] = len(rows)
    return Judgement(JournalState.SOUND, "", counts)
