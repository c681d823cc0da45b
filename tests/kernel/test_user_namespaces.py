"""User namespaces that exist for their tables of ids alone."""

import os
from pathlib import Path

import pytest

from orlop.engine.id_mapping import IdMapping
from orlop.errors import HostFailure
from orlop.kernel.mounts import open_tree
from orlop.kernel.user_namespaces import open_user_namespace
from orlop.planning.id_maps import swap_ids
from support.leaks import descriptors

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: sudo script/test")

TABLE = swap_ids(1000, 2000)


def test_a_namespace_outlives_the_process_that_made_it() -> None:
    before = set(os.listdir("/proc"))
    fd = open_user_namespace(TABLE, TABLE)
    try:
        assert str(Path(f"/proc/self/fd/{fd}").readlink()).startswith("user:")
        assert os.fstat(fd).st_ino != Path("/proc/self/ns/user").stat().st_ino
        assert not os.get_inheritable(fd)
    finally:
        os.close(fd)
    mine = {pid for pid in set(os.listdir("/proc")) - before if pid.isdigit() and _parent(pid) == os.getpid()}
    assert not mine, "no child stays, not even a dead one"


def _parent(pid: str) -> int:
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


@pytest.mark.parametrize(
    "command", [("false",), ("sh", "-c", "echo refused >&2; exit 1"), ("no-such-program-at-all",), ("cat",)]
)
def test_a_namespace_that_cannot_be_made_is_an_error(command: tuple[str, ...]) -> None:
    """The last one stays in our own namespace, whose table is written already."""
    before = descriptors()
    with pytest.raises(OSError):
        open_user_namespace(TABLE, TABLE, command)
    assert descriptors() <= before


def test_a_table_that_the_kernel_refuses_is_an_error() -> None:
    with pytest.raises(OSError, match=r"Invalid argument|not permitted"):
        open_user_namespace(((0, 0, 10), (5, 5, 10)), TABLE)


def test_the_user_is_told_what_to_allow(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*tables: object) -> int:
        raise OSError("no user namespace: unshare failed: No space left on device")

    monkeypatch.setattr("orlop.engine.id_mapping.open_user_namespace", fail)
    tree = open_tree(-100, str(tmp_path))
    try:
        with pytest.raises(HostFailure, match="max_user_namespaces"):
            IdMapping().show_owner_as(tree, 7, 7, "mount at /x", recursive=True)
    finally:
        os.close(tree)
