"""What is particular to containers under conmon: who may die, and what must be installed."""

import contextlib
import fcntl
import os
import queue
import shutil
import signal
import subprocess
import sys
import tarfile
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.runtimes.driver import Exit, StartedProcess
from orlop.drivers.runtimes.input_pipe import PIPE_BYTES
from orlop.drivers.runtimes.oci import OciRuntime
from orlop.errors import Conflict, NotFound, Unavailable
from orlop.testing.runtime_box import PATIENCE_SECONDS, Box, Running, is_alive

pytestmark = pytest.mark.usefixtures("needs_root")


@pytest.fixture(scope="module")
def rootfs(busybox_tar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("rootfs")
    with tarfile.open(busybox_tar) as tar:
        tar.extraction_filter = None  # the newest Pythons ask for one; Debian 12 has none yet
        tar.extractall(directory)
    return directory


@pytest.fixture(params=["crun", "runc"])
def root(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    if shutil.which(request.param) is None or shutil.which("conmon") is None:
        pytest.skip(f"{request.param} or conmon is not installed (script/setup installs them)")
    return tmp_path / request.param


@pytest.fixture
def box(root: Path, rootfs: Path, tmp_path: Path) -> Iterator[Box]:
    box = Box(OciRuntime(root, root.name), rootfs, tmp_path)
    yield box
    box.close()


DAEMON = """
    import sys, time
    from pathlib import Path
    from orlop.drivers.runtimes.driver import Bundle, Process
    from orlop.drivers.runtimes.oci import OciRuntime

    root, rootfs, log = map(Path, sys.argv[1:])
    runtime = OciRuntime(root, root.name)
    script = "read line; echo heard $line; exit 9"
    process = Process(("sh", "-c", script), ("PATH=/bin",), stdin=True)
    started = runtime.create(Bundle("c" * 64, "box", log, rootfs, False, process, "box"))
    runtime.start("c" * 64)
    print(started.pid, started.supervisor_pid, started.supervisor_started, flush=True)
    time.sleep(1000)
"""


def test_a_container_goes_on_when_its_daemon_is_killed(root: Path, rootfs: Path, tmp_path: Path) -> None:
    log = tmp_path / "log"
    daemon = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(DAEMON), root, rootfs, log],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    assert daemon.stdout is not None
    started = StartedProcess(*(int(word) for word in daemon.stdout.readline().split()))
    os.killpg(daemon.pid, signal.SIGKILL)
    daemon.wait()
    daemon.stdout.close()
    runtime = OciRuntime(root, root.name)
    try:
        assert is_alive(started.pid)
        assert runtime.is_alive(started)
        with runtime.attach("c" * 64) as connection:
            connection.send(b"you\n")
            assert connection.recv(1000) == b"\x02heard you\n"
            assert connection.recv(1000) == b""
        exits: queue.Queue[Exit] = queue.Queue()
        runtime.watch("c" * 64, started, exits.put)
        assert exits.get(timeout=PATIENCE_SECONDS).exit_code == 9
        assert "heard you" in log.read_text()
    finally:
        runtime.delete("c" * 64)


def test_a_container_without_its_supervisor_is_killed_and_says_so(box: Box) -> None:
    running = box.sleeper()
    pids = box.runtime.processes(running.container_id)
    os.kill(running.process.supervisor_pid, signal.SIGKILL)
    ended = running.wait()
    assert ended.exit_code == 137
    assert "supervisor" in ended.error
    assert not any(is_alive(pid) for pid in pids)
    assert not box.runtime.is_alive(running.process)


def test_a_supervisor_that_died_while_no_daemon_was_there_is_found_out(box: Box, root: Path) -> None:
    running = box.sleeper()
    os.kill(running.process.supervisor_pid, signal.SIGKILL)
    running.wait()
    exits: queue.Queue[Exit] = queue.Queue()
    OciRuntime(root, root.name).watch(running.container_id, running.process, exits.put)
    assert exits.get(timeout=PATIENCE_SECONDS).exit_code == 137


def test_a_container_whose_state_was_damaged_is_deleted_all_the_same(box: Box, root: Path) -> None:
    running = box.sleeper()
    pids = box.runtime.processes(running.container_id)
    for record in (root / root.name / "state" / running.container_id).glob("stat*"):
        record.write_text("{")
    box.runtime.delete(running.container_id)
    assert running.wait().exit_code == 137
    assert not any(is_alive(pid) for pid in pids)
    assert not box.runtime.list_containers()


def test_an_exec_without_its_supervisor_is_killed_and_its_container_is_not(box: Box) -> None:
    container = box.sleeper()
    running = box.exec(container.container_id, "sleep", "1000")
    os.kill(running.process.supervisor_pid, signal.SIGKILL)
    assert running.wait().exit_code == 137
    assert not is_alive(running.process.pid)
    assert is_alive(container.process.pid)


def input_of(box: Box, running: Running) -> int:
    assert isinstance(box.runtime, OciRuntime)
    return box.runtime.open_input(running.container_id, running.socket, running.exec_id)


def test_input_written_past_the_supervisor_arrives_and_ends_with_the_connection(box: Box) -> None:
    running = box.start("cat", stdin=True, stdin_once=True)
    pipe = input_of(box, running)
    try:
        assert fcntl.fcntl(pipe, fcntl.F_GETPIPE_SZ) == PIPE_BYTES
        assert not os.get_blocking(pipe)
        os.write(pipe, b"straight\n")
        running.read_until(b"straight\n")
    finally:
        os.close(pipe)
    running.end_input()
    assert running.output() == (b"", b"")
    assert running.wait().exit_code == 0


def test_an_exec_has_an_input_of_its_own(box: Box) -> None:
    container = box.sleeper(stdin=True)
    running = box.exec(container.container_id, "cat", stdin=True, stdin_once=True)
    pipe = input_of(box, running)
    assert os.write(pipe, b"to the exec\n")
    os.close(pipe)
    running.end_input()
    assert running.output() == (b"to the exec\n", b"")


def test_what_a_process_put_in_the_place_of_its_input_is_not_taken_for_it(box: Box) -> None:
    script = "exec 0</dev/zero; mkfifo /tmp/own; exec 0<>/tmp/own; echo ready; sleep 1000"
    fifo = box.start("sh", "-c", script, stdin=True)
    fifo.read_until(b"ready")
    assert input_of(box, fifo) == -1
    swapped = box.start("sh", "-c", "exec 0<&1; echo ready; exec sleep 1000", stdin=True)
    swapped.read_until(b"ready")
    assert input_of(box, swapped) == -1


def test_a_terminal_and_what_has_ended_have_no_input_to_write_to(box: Box) -> None:
    terminal = box.start("sh", "-c", "echo up; exec sleep 1000", tty=True, stdin=True)
    terminal.read_until(b"up")
    assert input_of(box, terminal) == -1
    ended = box.start("true", stdin=True)
    ended.wait()
    assert input_of(box, ended) == -1


def test_after_a_reboot_nothing_is_known_and_nothing_fails(box: Box, root: Path) -> None:
    shutil.rmtree(root)  # the exec root is on a tmpfs: a reboot takes it and every process along
    runtime = OciRuntime(root, root.name)
    container_id = "d" * 64
    assert list(runtime.list_containers()) == []
    assert runtime.exit_of(container_id) is None
    assert not runtime.is_started(container_id)
    assert list(runtime.processes(container_id)) == []
    runtime.delete(container_id)
    with pytest.raises(NotFound):
        runtime.attach(container_id)
    with pytest.raises(Conflict):
        runtime.resize(container_id, 1, 1)


def test_half_a_container_of_a_daemon_that_died_is_deleted(box: Box, root: Path) -> None:
    half = root / root.name / "containers" / ("e" * 64)
    half.mkdir()
    (half / "config.json").write_text("{")
    assert list(box.runtime.list_containers()) == ["e" * 64]
    box.runtime.delete("e" * 64)
    assert list(box.runtime.list_containers()) == []


CREATING_DAEMON = """
    import dataclasses, sys
    from pathlib import Path
    from orlop.drivers.runtimes.driver import Bundle, Process
    from orlop.drivers.runtimes.oci import OciRuntime

    root, rootfs, log, script = Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]
    runtime = OciRuntime(root, root.name)
    runtime._conmon = dataclasses.replace(
        runtime._conmon, runtime=("/bin/sh", "-c", script, *runtime._conmon.runtime)
    )
    runtime.create(Bundle("a" * 64, "box", log, rootfs, False, Process(("true",), ("PATH=/bin",)), "box"))
"""


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_create_that_its_daemon_did_not_survive_leaves_nothing(
    root: Path, rootfs: Path, tmp_path: Path, when: str
) -> None:
    """The daemon is killed while the runtime hangs, before it has done anything or when it has done all."""
    reached = tmp_path / "reached"
    os.mkfifo(reached)
    hang = f"echo > {reached}; exec sleep 1000"
    script = hang if when == "before" else f'"$0" "$@"; {hang}'
    daemon = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(CREATING_DAEMON), root, rootfs, tmp_path / "log", script],
        start_new_session=True,
    )
    reached.read_text()  # until the runtime hangs
    os.killpg(daemon.pid, signal.SIGKILL)
    daemon.wait()
    runtime = OciRuntime(root, root.name)
    assert list(runtime.list_containers()) == ["a" * 64]
    assert not runtime.is_started("a" * 64)
    runtime.delete("a" * 64)
    assert list(runtime.list_containers()) == []
    assert not [line for line in _command_lines() if str(root) in line]
    assert not list(Path("/sys/fs/cgroup").glob(f"*/orlop/{'a' * 64}"))


def _command_lines() -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                found.append((entry / "cmdline").read_bytes().decode(errors="replace"))
    return found


def test_an_exec_root_deep_down_the_tree_works(root: Path, rootfs: Path, tmp_path: Path) -> None:
    deep = tmp_path / ("long" * 30) / root.name  # a socket's path has room for 107 bytes
    deep.parent.mkdir()
    box = Box(OciRuntime(deep, root.name), rootfs, tmp_path)
    try:
        for tty in (False, True):
            running = box.start("sh", "-c", "read line; echo heard $line; sleep 1000", stdin=True, tty=tty)
            running.send(b"you\n")
            assert b"heard you" in running.read_until(b"heard you")
            box.runtime.resize(running.container_id, 10, 10) if tty else None
    finally:
        box.close()


def test_a_missing_runtime_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="apt-get install crun"):
        OciRuntime(tmp_path / "root")
    with pytest.raises(Unavailable, match="apt-get install runc"):
        OciRuntime(tmp_path / "root", "runc")
    with pytest.raises(Unavailable, match="container runtime nosuch: not installed"):
        OciRuntime(tmp_path / "root", "nosuch")


def test_a_missing_supervisor_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runc = shutil.which("runc")
    if runc is None:
        pytest.skip("runc is not installed (script/setup installs it)")
    (tmp_path / "runc").symlink_to(runc)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="apt-get install conmon"):
        OciRuntime(tmp_path / "root")


def test_crun_works_without_busybox_too(
    root: Path, rootfs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in (root.name, "conmon", "unshare", "umount"):
        (programs / name).symlink_to(str(shutil.which(name)))
    monkeypatch.setenv("PATH", str(programs))
    box = Box(OciRuntime(root, root.name), rootfs, tmp_path)
    try:
        assert box.shell("echo works") == "works\n"
        assert box.exec(box.sleeper().container_id, "echo", "too").output() == (b"too\n", b"")
    finally:
        box.close()


def test_containers_leave_no_namespace_behind(box: Box) -> None:
    """The wrapper that hides an empty cgroup tree from crun makes a mount namespace; only the runtime may be in it."""
    running = box.sleeper()
    own = Path("/proc/self/ns/mnt").readlink()
    assert Path(f"/proc/{running.process.supervisor_pid}/ns/mnt").readlink() == own
    assert Path(f"/proc/{running.process.pid}/ns/mnt").readlink() != own
