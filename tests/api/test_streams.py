"""Logs, attach, exec: bytes between a client and a container's processes."""

import os
import pty
import re
import signal
import time

import pytest

from support.daemon import LiveDaemon, read_until, wait_for


def test_logs_keep_both_streams_and_their_order(docker_clients: LiveDaemon) -> None:
    script = "echo one; echo two >&2; printf three"
    docker_clients.docker("run", "--name", "app", "busybox", "sh", "-c", script)
    logs = docker_clients.docker("logs", "app")
    assert (logs.stdout, logs.stderr) == ("one\nthree", "two\n")


def test_logs_tail_since_until_and_timestamps(daemon: LiveDaemon) -> None:
    daemon.docker("run", "--name", "app", "busybox", "sh", "-c", "echo first; sleep 1.2; seq 1 100")
    assert daemon.docker("logs", "--tail", "3", "app").stdout == "98\n99\n100\n"
    assert daemon.docker("logs", "-n", "0", "app").stdout == ""
    stamped = daemon.docker("logs", "-t", "app").stdout.splitlines()
    assert all(re.match(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d+Z ", line) for line in stamped)
    second = stamped[1].split()[0]
    assert daemon.docker("logs", "--since", second, "app").stdout.splitlines()[0] == "1"
    assert daemon.docker("logs", "--until", stamped[0].split()[0], "app").stdout.splitlines() in (["first"], [])


def test_logs_follow_until_the_container_ends(docker_clients: LiveDaemon) -> None:
    docker_clients.docker("run", "-d", "--name", "app", "-v", "gate:/gate", "busybox", "sh", "-c",
                          "echo begin; until [ -e /gate/open ]; do sleep 0.05; done; echo end")  # fmt: skip
    with docker_clients.spawned("logs", "-f", "app", stdout=-1) as follower:
        assert follower.stdout
        read_until(follower.stdout, b"begin\n")
        docker_clients.volume_data("gate").joinpath("open").touch()
        read_until(follower.stdout, b"end\n")
        assert follower.wait(10) == 0


def test_logs_survive_a_killed_daemon(daemon: LiveDaemon) -> None:
    daemon.docker("run", "-d", "--name", "app", "-v", "gate:/gate", "busybox", "sh", "-c",
                  "echo before; until [ -e /gate/open ]; do sleep 0.05; done; echo meanwhile; sleep 1000")  # fmt: skip
    wait_for("the first line", lambda: "before" in daemon.docker("logs", "app").stdout)
    daemon.kill()
    daemon.volume_data("gate").joinpath("open").touch()
    time.sleep(0.3)  # so that the line is written while nobody is there; later would be right as well
    daemon.start()
    wait_for("the line", lambda: daemon.docker("logs", "app").stdout == "before\nmeanwhile\n")


def test_a_long_line_arrives_whole(daemon: LiveDaemon) -> None:
    daemon.docker("run", "--name", "app", "busybox", "sh", "-c", "head -c 100000 /dev/zero | tr '\\0' x; echo")
    assert daemon.docker("logs", "app").stdout == "x" * 100000 + "\n"


def test_attach_to_a_running_container_sends_and_receives(docker_clients: LiveDaemon) -> None:
    docker_clients.docker("run", "-d", "-i", "--name", "app", "busybox", "sh", "-c", 'read a; echo "got $a"; exit 5')
    with docker_clients.spawned("attach", "app", stdin=-1, stdout=-1) as attached:
        assert attached.stdin
        assert attached.stdout
        attached.stdin.write(b"hello\n")
        attached.stdin.flush()
        read_until(attached.stdout, b"got hello\n")
        assert attached.wait(20) == 5


def test_a_terminal_echoes_has_a_size_and_is_left_by_the_detach_keys(docker_clients: LiveDaemon) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "r+b", buffering=0) as terminal:
        client = docker_clients.spawn(
            "run", "-it", "--name", "app", "busybox", "sh", stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
        )
        os.close(theirs)
        terminal.write(b"tty; echo $((6*7))\n")
        said = read_until(terminal, b"42\r\n")
        assert b"/dev/pts/0" in said or b"/dev/console" in said
        terminal.write(b"\x10\x11")  # ctrl-p ctrl-q
        assert client.wait(20) == 0
    assert docker_clients.inspect("container", "app")["State"]["Running"]


def test_other_detach_keys(daemon: LiveDaemon) -> None:
    daemon.docker("run", "-dit", "--name", "app", "busybox", "sh")
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "r+b", buffering=0) as terminal:
        client = daemon.spawn(
            "attach", "--detach-keys", "ctrl-a,d", "app", stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True
        )
        os.close(theirs)
        terminal.write(b"echo $((6*7))\n")
        read_until(terminal, b"42\r\n")
        terminal.write(b"\x01d")
        client.wait(20)
    assert daemon.inspect("container", "app")["State"]["Running"]


def test_a_signal_to_the_client_reaches_the_container(daemon: LiveDaemon) -> None:
    script = "trap 'echo bye; exit 9' INT; echo ready; while :; do sleep 0.05; done"
    with daemon.spawned("run", "--name", "app", "busybox", "sh", "-c", script, stdout=-1) as client:
        assert client.stdout
        read_until(client.stdout, b"ready\n")
        client.send_signal(signal.SIGINT)
        read_until(client.stdout, b"bye\n")
        assert client.wait(20) == 9


@pytest.fixture
def app(daemon: LiveDaemon) -> LiveDaemon:
    daemon.docker("run", "-d", "--name", "app", "-e", "COLOUR=red", "busybox", "sleep", "1000")
    return daemon


def test_exec_exit_codes(app: LiveDaemon) -> None:
    app.docker("exec", "app", "true")
    app.docker("exec", "app", "sh", "-c", "exit 33", code=33)
    missing = app.docker("exec", "app", "no-such-program", code=127)
    assert "executable file not found" in missing.stderr + missing.stdout
    refused = app.docker("exec", "app", "/etc", code=126)
    assert "permission denied" in (refused.stderr + refused.stdout).lower()
    assert "No such container: ghost" in app.docker("exec", "ghost", "true", code=1).stderr


def test_exec_input_user_folder_and_environment(app: LiveDaemon) -> None:
    assert app.docker("exec", "-i", "app", "tr", "a-z", "A-Z", stdin="loud\n").stdout == "LOUD\n"
    script = "echo $COLOUR $SIZE $(id -u) $(pwd)"
    done = app.docker("exec", "-u", "app", "-w", "/tmp", "-e", "SIZE=9", "app", "sh", "-c", script)
    assert done.stdout == "red 9 1000 /tmp\n"
    split = app.docker("exec", "app", "sh", "-c", "echo out; echo err >&2")
    assert (split.stdout, split.stderr) == ("out\n", "err\n")


def test_exec_detached_runs_on(app: LiveDaemon) -> None:
    app.docker("exec", "-d", "app", "sh", "-c", "echo done > /mark")
    wait_for("the mark", lambda: app.docker("exec", "app", "cat", "/mark", code=None).stdout == "done\n")


def test_exec_with_a_terminal(app: LiveDaemon) -> None:
    ours, theirs = pty.openpty()
    with os.fdopen(ours, "r+b", buffering=0) as terminal:
        client = app.spawn("exec", "-it", "app", "sh", stdin=theirs, stdout=theirs, stderr=theirs, close_fds=True)
        os.close(theirs)
        terminal.write(b"test -t 0 && echo $((6*7)); exit 4\n")
        read_until(terminal, b"42\r\n")
        assert client.wait(20) == 4


def test_exec_is_refused_where_nothing_runs(daemon: LiveDaemon) -> None:
    daemon.docker("create", "--name", "still", "busybox", "true")
    assert "is not running" in daemon.docker("exec", "still", "true", code=1).stderr
    daemon.docker("run", "-d", "--name", "frozen", "busybox", "sleep", "1000")
    daemon.docker("pause", "frozen")
    assert "is paused" in daemon.docker("exec", "frozen", "true", code=1).stderr
    daemon.docker("unpause", "frozen")


def test_output_comes_whole_where_the_input_is_not_read(docker_clients: LiveDaemon) -> None:
    for _ in range(5):
        done = docker_clients.docker("run", "--rm", "-i", "busybox", "echo", "hello", stdin=b"x" * 1_000_000)
        assert done.stdout == "hello\n"


def test_without_a_log_output_is_shown_and_not_kept(daemon: LiveDaemon) -> None:
    shown = daemon.docker("run", "--name", "app", "--log-driver", "none", "busybox", "echo", "shown").stdout
    assert shown == "shown\n"
    refused = daemon.docker("logs", "app", code=1)
    assert "configured logging driver does not support reading" in refused.stderr
