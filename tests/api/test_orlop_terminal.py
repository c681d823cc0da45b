"""The `orlop` command in a terminal: raw while a container has it, as it was afterwards."""

import signal

from support.daemon import LiveDaemon, orlop_command, wait_for
from support.terminal import Terminal


def open_terminal(daemon: LiveDaemon, *arguments: str) -> Terminal:
    return Terminal([*orlop_command(), *arguments], {**daemon.orlop_environment, "TERM": "dumb"}, rows=30, columns=100)


def test_a_shell_in_a_terminal_gives_its_exit_code_and_the_terminal_back(daemon: LiveDaemon) -> None:
    with open_terminal(daemon, "run", "--rm", "-it", "busybox", "sh") as terminal:
        before = terminal.settings
        terminal.read_until("# ")
        assert terminal.settings != before, "it is raw now"
        terminal.type("tty && echo a'b'c\n")
        assert "/dev/" in terminal.read_until("abc")
        terminal.type("exit 9\n")
        assert terminal.wait() == 9
        assert terminal.settings == before


def test_the_size_of_the_terminal_is_the_containers_too(daemon: LiveDaemon) -> None:
    with open_terminal(daemon, "run", "--rm", "-it", "busybox", "sh") as terminal:
        terminal.read_until("# ")
        terminal.type("stty size; echo en''d\n")
        assert "30 100" in terminal.read_until("end\r\n")
        terminal.type("trap 'stty size' WINCH; echo rea''dy\n")
        terminal.read_until("ready\r\n")
        terminal.resize(44, 132)
        terminal.type("\n")
        wait_for("the new size", lambda: terminal.type("stty size\n") or "44 132" in terminal.read_until("\r\n"))
        terminal.type("exit\n")
        assert terminal.wait() == 0


def test_ctrl_c_goes_to_the_program_and_not_to_the_command(daemon: LiveDaemon) -> None:
    with open_terminal(daemon, "run", "--rm", "-it", "busybox", "sh") as terminal:
        terminal.read_until("# ")
        # Said by the program that has the terminal already: between two of its own commands the shell would take the
        # key for itself, and wait for the sleep to end.
        terminal.type("sh -c 'echo sleep\"\"ing; exec sleep 1000'\n")
        terminal.read_until("sleeping\r\n")
        terminal.type("\x03")
        terminal.read_until("# ")
        terminal.type("exit 3\n")
        assert terminal.wait() == 3


def test_detach_keys_leave_the_container_running_and_attach_comes_back(daemon: LiveDaemon) -> None:
    with open_terminal(daemon, "run", "-it", "--name", "shell", "busybox", "sh") as terminal:
        before = terminal.settings
        terminal.read_until("# ")
        terminal.type("\x10\x11")
        terminal.read_until("detached")
        assert terminal.wait() == 0
        assert terminal.settings == before
    assert daemon.orlop("inspect", "-f", "{{.State.Running}}", "shell").stdout == "true\n"
    with open_terminal(daemon, "attach", "--detach-keys", "ctrl-x,d", "shell") as terminal:
        terminal.type("echo a'b'c\n")
        terminal.read_until("abc")
        terminal.type("\x18d")
        assert terminal.wait() == 0
    with open_terminal(daemon, "attach", "shell") as terminal:
        terminal.type("exit 6\n")
        assert terminal.wait() == 6


def test_exec_has_a_terminal_of_its_own(daemon: LiveDaemon) -> None:
    daemon.orlop("run", "-d", "--name", "app", "busybox", "sleep", "1000")
    with open_terminal(daemon, "exec", "-it", "app", "sh") as terminal:
        before = terminal.settings
        terminal.read_until("# ")
        terminal.type("stty size; echo en''d\n")
        assert "30 100" in terminal.read_until("end\r\n")
        terminal.type("exit 8\n")
        assert terminal.wait() == 8
        assert terminal.settings == before


def test_a_command_that_is_terminated_gives_the_terminal_back(daemon: LiveDaemon) -> None:
    daemon.orlop("run", "-d", "--name", "app", "busybox", "sleep", "1000")
    with open_terminal(daemon, "exec", "-it", "app", "sh") as terminal:
        before = terminal.settings
        terminal.read_until("# ")
        terminal.send_signal(signal.SIGTERM)
        assert terminal.wait() == 128 + signal.SIGTERM
        assert terminal.settings == before


def test_a_terminal_for_a_pipe_is_refused(daemon: LiveDaemon) -> None:
    assert "not a TTY" in daemon.orlop("run", "--rm", "-it", "busybox", "sh", code=1).stderr
    assert daemon.orlop("ps", "-aq").stdout == ""


def test_questions_are_asked_in_the_terminal(daemon: LiveDaemon) -> None:
    daemon.orlop("volume", "create", "data")
    with open_terminal(daemon, "volume", "prune", "--all") as terminal:
        assert "data" in terminal.read_until("Go on?")
        terminal.type("n\n")
        assert terminal.wait() == 1
    assert daemon.orlop("volume", "ls", "-q").stdout == "data\n"
    with open_terminal(daemon, "volume", "prune", "--all") as terminal:
        terminal.read_until("Go on?")
        terminal.type("y\n")
        assert terminal.wait() == 0
    assert daemon.orlop("volume", "ls", "-q").stdout == ""


def test_a_copy_of_a_volume_shows_how_far_it_is(daemon: LiveDaemon) -> None:
    daemon.docker("volume", "create", "data")
    for number in range(2000):
        (daemon.volume_data("data") / f"file{number}").touch()
    with open_terminal(daemon, "volume", "cp", "data", "again") as terminal:
        terminal.read_until("copying data: ")
        terminal.read_until("again")
        assert terminal.wait() == 0
