"""The contract suite of runtime drivers: every driver's test file derives from it and says how to make one.

class TestCrun(RuntimeContract):
    @pytest.fixture
    def runtime(self) -> Iterator[Runtime]: ...          # and cleaned up afterwards
    @pytest.fixture
    def rootfs(self) -> Path: ...                        # busybox, with /etc/passwd
    def reopened(self, runtime) -> Runtime: ...          # as a daemon started anew would have it

What a container may do once it runs is in orlop.testing.runtime_confinement.
"""

import dataclasses
import queue
import secrets
import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.runtimes.driver import BundleMount, Exit, Process, Runtime
from orlop.errors import Conflict, Forbidden, HostFailure, Malformed, NotFound, OrlopError
from orlop.testing.runtime_box import PATIENCE_SECONDS, Box, is_alive

# A size is passed on by the supervisor, some time after it was told.
WAIT_FOR_SIZE = 'while [ "$(stty size)" != "40 50" ]; do sleep 0.05; done'


class RuntimeFixtures:
    """What the suites share."""

    def reopened(self, runtime: Runtime) -> Runtime:
        raise NotImplementedError

    @pytest.fixture
    def box(self, runtime: Runtime, rootfs: Path, tmp_path: Path) -> Iterator[Box]:
        box = Box(runtime, rootfs, tmp_path)
        yield box
        box.close()
        assert not runtime.list_containers()


class RuntimeContract(RuntimeFixtures):
    """Method names are the promises."""

    def test_it_says_what_it_is(self, runtime: Runtime) -> None:
        assert runtime.name
        assert runtime.version[0].isdigit()

    # The life of a container

    @pytest.mark.parametrize("code", [0, 3, 255])
    def test_the_exit_code_comes_back(self, box: Box, code: int) -> None:
        running = box.start("sh", "-c", f"exit {code}")
        ended = running.wait()
        assert (ended.container_id, ended.exec_id, ended.exit_code) == (running.container_id, "", code)
        assert not ended.oom_killed
        assert box.runtime.exit_of(running.container_id) == ended

    def test_nothing_runs_before_start(self, box: Box) -> None:
        running = box.create(box.bundle("echo", "hello"))
        assert not box.runtime.is_started(running.container_id)
        assert box.runtime.is_alive(running.process)
        box.runtime.start(running.container_id)
        assert box.runtime.is_started(running.container_id)
        assert running.output() == (b"hello\n", b"")

    def test_what_has_ended_or_runs_is_not_started(self, box: Box) -> None:
        running = box.sleeper()
        with pytest.raises(OrlopError):
            box.runtime.start(running.container_id)
        killed = box.create(box.bundle("true"))
        box.runtime.signal(killed.container_id, killed.process.pid, signal.SIGKILL)
        killed.wait()
        with pytest.raises(OrlopError):
            box.runtime.start(killed.container_id)

    def test_output_comes_by_stream_and_is_logged(self, box: Box) -> None:
        running = box.start("sh", "-c", "echo out; echo err >&2")
        assert running.output() == (b"out\n", b"err\n")
        running.wait()
        log = box.log(running.container_id)
        assert "stdout F out\n" in log
        assert "stderr F err\n" in log

    def test_a_signal_reaches_the_process(self, box: Box) -> None:
        running = box.sleeper()
        box.runtime.signal(running.container_id, running.process.pid, signal.SIGTERM)
        assert running.wait().exit_code == 7

    def test_a_killed_process_ends_with_128_and_the_signal(self, box: Box) -> None:
        running = box.sleeper()
        box.runtime.signal(running.container_id, running.process.pid, signal.SIGKILL)
        assert running.wait().exit_code == 137

    def test_a_signal_to_what_has_ended_is_not_found(self, box: Box) -> None:
        running = box.start("true")
        running.wait()
        with pytest.raises(NotFound):
            box.runtime.signal(running.container_id, running.process.pid, signal.SIGTERM)

    def test_a_signal_never_goes_to_another_process_of_that_number(self, box: Box) -> None:
        first, second = box.sleeper(), box.sleeper()
        with pytest.raises(NotFound):
            box.runtime.signal(first.container_id, second.process.pid, signal.SIGKILL)
        assert box.runtime.is_alive(second.process)

    def test_pausing_and_resuming_twice_is_success(self, box: Box) -> None:
        running = box.sleeper()
        for act in (box.runtime.pause, box.runtime.resume):
            act(running.container_id)
            act(running.container_id)
        assert box.runtime.is_alive(running.process)

    def test_a_paused_process_gets_its_signals_when_it_goes_on(self, box: Box) -> None:
        running = box.sleeper()
        box.runtime.pause(running.container_id)
        box.runtime.signal(running.container_id, running.process.pid, signal.SIGTERM)
        assert running.exits.empty()
        box.runtime.resume(running.container_id)
        assert running.wait().exit_code == 7

    def test_deleting_kills_what_runs(self, box: Box) -> None:
        running = box.sleeper()
        pids = box.runtime.processes(running.container_id)
        assert running.process.pid in pids
        box.runtime.delete(running.container_id)
        assert running.wait().exit_code == 137
        assert not box.runtime.is_alive(running.process)
        assert not any(is_alive(pid) for pid in pids)

    def test_deleting_a_paused_container_kills_it(self, box: Box) -> None:
        running = box.sleeper()
        box.runtime.pause(running.container_id)
        box.runtime.delete(running.container_id)
        assert running.wait().exit_code == 137

    def test_deleting_twice_is_success(self, box: Box) -> None:
        running = box.start("true")
        running.wait()
        box.runtime.delete(running.container_id)
        box.runtime.delete(running.container_id)
        assert running.container_id not in box.runtime.list_containers()

    def test_deleting_what_never_was_is_success(self, runtime: Runtime) -> None:
        runtime.delete(secrets.token_hex(32))

    def test_a_container_that_ended_is_created_again_under_its_id(self, box: Box) -> None:
        bundle = box.bundle("sh", "-c", "exit 4")
        for _ in range(2):
            running = box.create(bundle)
            box.runtime.start(running.container_id)
            assert running.wait().exit_code == 4

    def test_all_containers_are_listed(self, box: Box) -> None:
        ids = sorted(box.sleeper().container_id for _ in range(2))
        assert sorted(box.runtime.list_containers()) == ids

    def test_the_processes_of_a_container_are_told(self, box: Box) -> None:
        running = box.start("sh", "-c", "sleep 1000 & sleep 1000 & echo up; wait")
        running.read_until(b"up")
        assert len(box.runtime.processes(running.container_id)) == 3
        box.runtime.delete(running.container_id)
        assert not box.runtime.processes(running.container_id)

    # Input, output, terminals

    def test_the_end_of_input_reaches_the_process(self, box: Box) -> None:
        running = box.start("cat", stdin=True, stdin_once=True)
        running.send(b"hello\n")
        running.end_input()
        assert running.output() == (b"hello\n", b"")
        assert running.wait().exit_code == 0

    def test_input_stays_open_when_a_client_leaves_unless_it_is_for_one(self, box: Box) -> None:
        running = box.start("cat", stdin=True)
        running.send(b"one\n")
        running.read_until(b"one\n")
        running.socket.close()
        running.socket = box.attach(running.container_id)
        running.send(b"two\n")
        running.read_until(b"two\n")

    def test_a_terminal_takes_input_from_the_next_client_too(self, box: Box) -> None:
        running = box.start(
            "sh", "-c", "while read line; do echo heard $line; done", tty=True, stdin=True, stdin_once=True
        )
        running.send(b"one\n")
        running.read_until(b"heard one")
        running.socket.close()
        running.socket = box.attach(running.container_id)
        running.send(b"two\n")
        running.read_until(b"heard two")

    def test_without_input_the_process_reads_nothing(self, box: Box) -> None:
        assert box.shell("cat; echo end") == "end\n"

    def test_a_terminal_has_the_wanted_size_and_can_be_resized(self, box: Box) -> None:
        script = f"stty size; {WAIT_FOR_SIZE}; exit 6"
        running = box.start("sh", "-c", script, tty=True, console_height=33, console_width=99)
        running.read_until(b"33 99")
        box.runtime.resize(running.container_id, 40, 50)
        running.output()
        assert running.wait().exit_code == 6

    def test_resizing_what_has_ended_is_a_conflict(self, box: Box) -> None:
        running = box.start("true", tty=True)
        running.wait()
        with pytest.raises(Conflict):
            box.runtime.resize(running.container_id, 10, 10)

    def test_attaching_to_what_has_ended_is_not_found(self, box: Box) -> None:
        running = box.start("true")
        running.wait()
        with pytest.raises(NotFound):
            box.runtime.attach(running.container_id)

    def test_two_clients_see_the_same_output(self, box: Box) -> None:
        first = box.create(box.bundle("sh", "-c", "read word; echo $word", stdin=True))
        second = dataclasses.replace(first, socket=box.attach(first.container_id))
        box.runtime.start(first.container_id)
        second.send(b"hello\n")  # who is heard is attached for certain
        assert first.output() == second.output() == (b"hello\n", b"")

    def test_a_lot_of_output_without_a_reader_is_logged_and_holds_up_nobody(self, box: Box) -> None:
        running = box.create(box.bundle("sh", "-c", "yes 0123456789 | head -c 4000000"))
        running.socket.close()
        box.runtime.start(running.container_id)
        assert running.wait().exit_code == 0
        log = box.log(running.container_id)
        assert sum(len(line.split(" ", 3)[3]) for line in log.splitlines()) > 3_500_000

    def test_a_client_that_does_not_read_loses_nothing(self, box: Box) -> None:
        running = box.start("sh", "-c", "yes 0123456789 | head -c 4000000; echo >&2 end")
        other = box.sleeper()  # meanwhile the driver serves others
        box.runtime.delete(other.container_id)
        out, err = running.output()
        assert (len(out), err) == (4_000_000, b"end\n")
        assert running.wait().exit_code == 0

    def test_the_log_starts_anew_when_it_gets_too_large(self, box: Box) -> None:
        bundle = box.bundle("sh", "-c", "yes 0123456789 | head -n 40000; echo last", log_max_bytes=100_000)
        running = box.create(bundle)
        box.runtime.start(running.container_id)
        running.output()
        running.wait()
        log = box.log(running.container_id)
        assert len(log) < 110_000
        assert log.endswith("stdout F last\n")

    # Execs

    def test_an_exec_runs_beside_the_first_process(self, box: Box) -> None:
        container = box.sleeper(hostname="where-am-i")
        other = box.exec(container.container_id, "sh", "-c", "hostname; echo err >&2; exit 5")
        assert other.output() == (b"where-am-i\n", b"err\n")
        ended = other.wait()
        assert (ended.exec_id, ended.exit_code) == (other.exec_id, 5)
        assert box.runtime.exit_of(container.container_id, other.exec_id) == ended
        assert box.runtime.exit_of(container.container_id) is None

    def test_an_exec_has_its_own_user_directory_and_environment(self, box: Box) -> None:
        container = box.sleeper()
        running = box.exec(
            container.container_id,
            "sh",
            "-c",
            "id -u; id -G; pwd",
            uid=1000,
            gid=1001,
            additional_gids=(26,),
            cwd="/var/log",
        )
        out, _ = running.output()
        assert out.split() == [b"1000", b"1001", b"26", b"/var/log"]

    def test_an_exec_has_a_terminal_and_input(self, box: Box) -> None:
        container = box.sleeper()
        running = box.exec(container.container_id, "sh", tty=True, stdin=True, stdin_once=True)
        box.runtime.resize(container.container_id, 40, 50, running.exec_id)
        running.send(f"{WAIT_FOR_SIZE}; exit 6\n".encode())
        running.output()
        assert running.wait().exit_code == 6

    def test_a_short_exec_loses_no_output(self, box: Box) -> None:
        container = box.sleeper()
        for _ in range(5):
            assert box.exec(container.container_id, "echo", "hello").output() == (b"hello\n", b"")

    def test_a_detached_exec_goes_on_by_itself(self, box: Box) -> None:
        container = box.sleeper()
        exec_id = secrets.token_hex(32)
        process = Process(("sh", "-c", "exit 8"), ("PATH=/bin",))
        started = box.runtime.start_exec(container.container_id, exec_id, process, attach=False)
        exits: queue.Queue[Exit] = queue.Queue()
        box.runtime.watch(container.container_id, started.process, exits.put, exec_id)
        assert started.attached is None
        assert exits.get(timeout=PATIENCE_SECONDS).exit_code == 8

    def test_a_forgotten_exec_has_no_exit_any_more(self, box: Box) -> None:
        container = box.sleeper()
        running = box.exec(container.container_id, "true")
        running.wait()
        box.runtime.forget_exec(container.container_id, running.exec_id)
        box.runtime.forget_exec(container.container_id, running.exec_id)
        assert box.runtime.exit_of(container.container_id, running.exec_id) is None

    def test_an_exec_ends_with_its_container(self, box: Box) -> None:
        container = box.sleeper()
        running = box.exec(container.container_id, "sleep", "1000")
        box.runtime.signal(container.container_id, container.process.pid, signal.SIGTERM)
        assert container.wait().exit_code == 7
        assert running.wait().exit_code == 137

    def test_no_exec_in_what_has_ended(self, box: Box) -> None:
        running = box.start("true")
        running.wait()
        with pytest.raises((HostFailure, NotFound, Conflict)):
            box.exec(running.container_id, "true")

    def test_containers_at_once(self, box: Box) -> None:
        outputs: queue.Queue[tuple[int, str]] = queue.Queue()

        def one(number: int) -> None:
            outputs.put((number, box.shell(f"echo {number}")))

        threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outputs.get_nowait() for _ in threads) == [(number, f"{number}\n") for number in range(8)]

    def test_execs_at_once(self, box: Box) -> None:
        container = box.sleeper()
        outputs: queue.Queue[bytes] = queue.Queue()

        def one(number: int) -> None:
            outputs.put(box.exec(container.container_id, "echo", str(number)).output()[0])

        threads = [threading.Thread(target=one, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(outputs.get_nowait() for _ in threads) == [f"{number}\n".encode() for number in range(8)]

    # What goes wrong

    def test_a_missing_program_is_not_found(self, box: Box) -> None:
        with pytest.raises(NotFound, match='exec: "nosuch": executable file not found in'):
            box.create(box.bundle("nosuch"))
        with pytest.raises(NotFound, match="stat /bin/nosuch: no such file or directory"):
            box.create(box.bundle("/bin/nosuch"))

    def test_what_is_not_executable_is_forbidden(self, box: Box) -> None:
        for program in ("/etc/passwd", "/etc"):
            with pytest.raises(Forbidden, match="permission denied"):
                box.create(box.bundle(program))

    def test_an_exec_fails_with_the_same_words(self, box: Box) -> None:
        container = box.sleeper()
        with pytest.raises(NotFound, match='exec: "nosuch": executable file not found in'):
            box.exec(container.container_id, "nosuch")
        with pytest.raises(Forbidden, match="permission denied"):
            box.exec(container.container_id, "/etc/passwd")
        with pytest.raises(NotFound, match="no such file or directory"):
            box.exec(container.container_id, "true", cwd="/no/such/directory")

    def test_a_file_mounted_on_a_directory_is_malformed(self, box: Box) -> None:
        source = box.directory / "file"
        source.write_text("")
        with pytest.raises(Malformed, match="not a directory"):
            box.create(box.bundle("true", mounts=(BundleMount("/etc", str(source), "bind", ("rbind",)),)))

    def test_a_failed_create_leaves_nothing(self, box: Box) -> None:
        with pytest.raises(NotFound):
            box.create(box.bundle("nosuch"))
        assert not box.runtime.list_containers()

    # Daemons come and go

    def test_a_new_daemon_finds_what_runs(self, box: Box) -> None:
        running = box.sleeper()
        again = self.reopened(box.runtime)
        assert list(again.list_containers()) == [running.container_id]
        assert again.is_alive(running.process)
        assert again.is_started(running.container_id)
        assert again.exit_of(running.container_id) is None
        exits: queue.Queue[Exit] = queue.Queue()
        again.watch(running.container_id, running.process, exits.put)
        again.signal(running.container_id, running.process.pid, signal.SIGTERM)
        assert exits.get(timeout=PATIENCE_SECONDS).exit_code == 7

    def test_a_new_daemon_is_told_of_an_exit_in_between(self, box: Box) -> None:
        running = box.start("sh", "-c", "exit 9")
        running.wait()
        again = self.reopened(box.runtime)
        exits: queue.Queue[Exit] = queue.Queue()
        again.watch(running.container_id, running.process, exits.put)
        assert exits.get(timeout=PATIENCE_SECONDS) == again.exit_of(running.container_id)
        assert not again.is_alive(running.process)
