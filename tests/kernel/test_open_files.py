"""What a process has open on a mount is found, whichever way it has it."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orlop.kernel.mounts import MNT_DETACH, mount, read_mounts, unmount
from orlop.kernel.open_files import OpenFile, Place, find_open, mount_namespace

pytestmark = pytest.mark.usefixtures("needs_root")


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    """Memory, mounted."""
    path = tmp_path / "mounted"
    path.mkdir()
    mount("tmpfs", path, "tmpfs")
    (path / "file").write_text("x" * 5000)
    try:
        entry = next(entry for entry in read_mounts() if entry.mount_point == str(path))
        yield Place(entry.id, str(path), entry.device)
    finally:
        unmount(path, MNT_DETACH)


@contextmanager
def process(script: str, *arguments: str) -> Iterator[int]:
    code = f"import os, sys, mmap, socket, ctypes, threading; path = sys.argv[1]; {script}; print(flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout and child.stdout.readline()
        try:
            yield child.pid
        finally:
            child.kill()


def find(pid: int, place: Place) -> OpenFile | None:
    return find_open([pid], mount_namespace(os.getpid()), [place])


@pytest.mark.parametrize(
    ("script", "what"),
    [
        ("f = open(path + '/file')", "has {}/file open"),
        ("os.chdir(path)", "works in {}"),
        ("f = open(path + '/file'); m = mmap.mmap(f.fileno(), 0, prot=1); f.close(); os.close(4)", "in its memory"),
        ("s = socket.socket(socket.AF_UNIX); s.bind(path + '/s'); s.listen()", "listens at {}/s"),
        ("c = ctypes.CDLL(None); fd = c.inotify_init(); c.inotify_add_watch(fd, path.encode(), 2)", "watches files"),
        (
            "a, b = socket.socketpair(); f = os.open(path + '/file', 0); socket.send_fds(a, [b'x'], [f]); os.close(f)",
            "has files on their way to it in a socket",
        ),
        ("fd = os.open(path + '/file', os.O_PATH)", "has {}/file open"),
        ("ctypes.CDLL(None).unshare(0x20000)", "has a mount namespace of its own"),
    ],
)
def test_found(script: str, what: str, place: Place) -> None:
    with process(script, place.path) as pid:
        found = find(pid, place)
        assert found is not None and what.format(place.path) in str(found)
        assert str(found).startswith("python")


def test_what_a_thread_of_its_own_has_open_is_found(place: Place) -> None:
    """Threads that share nothing of it any more with the first one."""
    script = (
        "go = threading.Event(); "
        "work = lambda: (ctypes.CDLL(None).unshare(0x400), os.open(path + '/file', os.O_RDONLY), go.set(), input()); "
        "threading.Thread(target=work, daemon=True).start(); go.wait()"
    )
    with process(script, place.path) as pid:
        assert "has" in str(find(pid, place)) and "/file open" in str(find(pid, place))


def test_who_has_nothing_open_there_is_not_found(place: Place, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").write_text("x")
    with process("f = open(path); os.chdir('/')", str(tmp_path / "elsewhere")) as pid:
        assert find(pid, place) is None
    assert find(pid, place) is None, "one that has ended has nothing"
