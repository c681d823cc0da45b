"""Copying a tree in a child process, so that the daemon's threads are not held up; one with little in it in place.

The directories go to the child as descriptors: nothing is looked up by path again.
"""

from orlop.archive.child_process import run_task, say, serve
from orlop.archive.stalling import Stall
from orlop.model.value import dataclass
from orlop.store.trees import Missed, Progress, copy_live_tree, count_entries

_FEW_ENTRIES = 500
_PATIENCE_SECONDS = 15.0


@dataclass(frozen=True, slots=True)
class CopiedTree:
    entries: int
    size_bytes: int  # of files, each once
    missed: Missed


def copy_aside(source_fd: int, target_fd: int, progress: Progress | None = None, may_hang: bool = False) -> CopiedTree:
    """`trees.copy_live_tree`; what `progress` raises ends it at once. What `may_hang` is always the child's to look at:
    TimeoutError when it does not get on."""
    if not may_hang:
        entries, _ = count_entries(source_fd, _FEW_ENTRIES)
        if entries < _FEW_ENTRIES:
            return CopiedTree(*copy_live_tree(source_fd, target_fd, progress))
    found = run_task(
        __name__,
        {"task": "copy", "source": source_fd, "target": target_fd},
        None,
        (lambda done: progress(*done)) if progress else None,
        (source_fd, target_fd),
        Stall(_PATIENCE_SECONDS) if may_hang else None,
    )
    if "failed" in found:
        raise OSError(*found["failed"])
    told = found["missed"]
    missed = Missed(told["count"], [(path, why) for path, why in told["entries"]], set(told["attributes"]))
    return CopiedTree(found["entries"], found["size_bytes"], missed)


def main(parent: int) -> None:
    """The child's side."""
    serve(parent, {"copy": _copy})


def _copy(source: int, target: int, out: int) -> dict[str, object]:
    try:
        entries, size, missed = copy_live_tree(source, target, lambda *numbers: say({"progress": numbers}))
        told = {"count": missed.count, "entries": missed.entries, "attributes": sorted(missed.attributes)}
        return {"entries": entries, "size_bytes": size, "missed": told}
    except OSError as error:  # as such, because a full disk is told apart from other trouble
        return {"failed": [error.errno, error.strerror, error.filename]}
