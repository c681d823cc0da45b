"""The journal's files, looked at from outside: cheap enough for every start, before a database is opened."""

from pathlib import Path

EMPTY = "it is empty"
_MAGIC = b"SQLite format 3\0"
_BESIDE = ("-wal", "-shm")


def journal_files(path: Path) -> list[Path]:
    """The journal's file and those that SQLite keeps beside it, as far as they are there."""
    return [file for file in (path, *(path.with_name(path.name + end) for end in _BESIDE)) if file.exists()]


def glance(path: Path) -> str:
    """What is wrong with a journal at the first look, "" when nothing is, or when there is none at all."""
    log = path.with_name(f"{path.name}-wal")
    try:
        with path.open("rb") as file:
            head = file.read(len(_MAGIC))
    except FileNotFoundError:
        return "only its log is there" if log.exists() and log.stat().st_size else ""
    if not head:
        return EMPTY
    return "" if head == _MAGIC else "it is no database"


def recovery_hint(path: Path) -> str:
    """What to do about a journal that cannot be used."""
    root = path.parent.parent
    return f"Restore it from a backup, or bring the volumes back without it: orlop recover --data-root {root}"
