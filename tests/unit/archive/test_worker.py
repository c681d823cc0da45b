"""Work in a child process: the same results and errors as in place, and no child that outlives its use."""

import io
import os
import subprocess
import sys
from pathlib import Path

import pytest

from orlop.archive import child_process, worker
from orlop.archive.pack import PackOptions, pack_tree
from orlop.archive.source import ArchiveSource
from orlop.archive.unpack import Whiteouts
from orlop.errors import HostFailure, Malformed
from orlop.kernel.polling import readable
from orlop.testing.archives import TestMember, file, hostile_layers, make_tar


@pytest.fixture(autouse=True)
def nothing_is_small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(worker, "_SMALL_BYTES", -1)
    monkeypatch.setattr(worker, "_SMALL_RECIPE_BYTES", -1)
    monkeypatch.setattr(worker, "_FEW_ENTRIES", -1)


def own(name: str, data: bytes) -> TestMember:
    return file(name, data, uid=os.getuid(), gid=os.getgid())


def apply(tmp_path: Path, tar: bytes) -> Path:
    (tmp_path / "t").write_bytes(tar)
    target = tmp_path / "layer"
    target.mkdir()
    seen: list[int] = []
    applied = worker.apply_layer_aside(
        ArchiveSource(tmp_path / "t"), target, tmp_path / "recipe", tmp_path / "s", Whiteouts.APPLY, seen.append
    )
    assert applied.tar_bytes == len(tar)
    assert seen == sorted(seen)
    return target


def test_a_layer_is_applied_rebuilt_and_packed_in_children(tmp_path: Path) -> None:
    tar = make_tar(own("a", b"x" * 3_000_000), own("caf\udce9", b"y"))
    target = apply(tmp_path, tar)
    out = io.BytesIO()
    worker.rebuild_aside(tmp_path / "recipe", target, out)
    assert out.getvalue() == tar
    packed, here = io.BytesIO(), io.BytesIO()
    worker.pack_aside(target, packed, PackOptions(only=frozenset({"a"}), deleted=("gone",)))
    fd = os.open(target, os.O_RDONLY)
    pack_tree(fd, here, options=PackOptions(only=frozenset({"a"}), deleted=("gone",)))
    os.close(fd)
    assert packed.getvalue() == here.getvalue() != b""


def test_a_tree_is_removed_in_a_child(tmp_path: Path) -> None:
    (tmp_path / "tree/d").mkdir(parents=True)
    (tmp_path / "tree/d/caf\udce9").touch()
    (tmp_path / "tree/out").symlink_to(tmp_path)
    worker.remove_aside(tmp_path / "tree")
    assert list(tmp_path.iterdir()) == []


def test_an_error_arrives_as_the_class_it_was_raised_as(tmp_path: Path) -> None:
    with pytest.raises(Malformed, match="leaves the root"):
        apply(tmp_path, hostile_layers()["a path that goes up"])
    with pytest.raises(HostFailure, match="cannot be read"):
        worker.rebuild_aside(tmp_path / "none", tmp_path, io.BytesIO())


def test_a_child_that_is_killed_is_a_failure_of_the_host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child_process, "_START", "import os; os.kill(os.getpid(), 9)")
    with pytest.raises(HostFailure, match="ended with status -9"):
        apply(tmp_path, make_tar(own("a", b"1")))


def test_when_the_reader_fails_the_child_ends(tmp_path: Path) -> None:
    target = apply(tmp_path, make_tar(own("a", b"x" * 10_000_000)))

    class Gone(io.BytesIO):
        def write(self, data: object, /) -> int:
            raise ConnectionResetError("the client has gone")

    before = _children()
    with pytest.raises(ConnectionResetError):
        worker.rebuild_aside(tmp_path / "recipe", target, Gone())
    assert _children() <= before


def _children() -> set[str]:
    """Other tests of the same run may have left some behind, waiting for storage that they made hang."""
    return set(Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split())


_CHILD = """
import os, sys, time
from orlop.kernel.process import die_with_parent
die_with_parent(int(sys.argv[1]))
print(os.getpid(), flush=True)
time.sleep(600)
"""
_DAEMON = """
import os, subprocess, sys
subprocess.run([sys.executable, "-c", sys.argv[1], str(os.getpid())])
"""


def test_children_die_with_the_daemon() -> None:
    """Stand-ins for both; the daemon's is killed."""
    source = str(Path(worker.__file__).parents[2])
    daemon = subprocess.Popen(
        [sys.executable, "-c", _DAEMON, _CHILD], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": source}
    )
    assert daemon.stdout
    child = os.pidfd_open(int(daemon.stdout.readline()))
    daemon.kill()
    daemon.wait()
    ended = readable([child], 10)
    os.close(child)
    daemon.stdout.close()
    assert ended
