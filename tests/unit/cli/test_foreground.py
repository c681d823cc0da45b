"""Containers in the foreground, against a daemon of cardboard: order of the calls, streams, exit statuses."""

from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from typing import Any

import pytest

from orlop.cli.attached import start_status
from orlop.cli.terminal import DetachKeys, parse_detach_keys
from orlop.client.errors import ClientError
from support.fake_daemon import Run, raw_answer

ID = "1" * 64
UPGRADED = b"HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
FRAMES = b"\x01\0\0\0\0\0\0\x04out\n" + b"\x02\0\0\0\0\0\0\x04err\n" + b"\x01\0\0\0\0\0\0\x04end\n"


def container(exit_code: int = 0, **changed: Any) -> Mapping[str, Any]:
    """The answers of a daemon with one container that says something and exits."""
    return {
        "POST /containers/create": (201, {"Id": ID, "Warnings": ["careful"]}),
        f"POST /containers/{ID}/attach": raw_answer(UPGRADED + FRAMES),
        f"POST /containers/{ID}/wait": {"StatusCode": exit_code},
        f"POST /containers/{ID}/start": 204,
        **changed,
    }


def test_the_streams_are_joined_and_the_exit_is_awaited_before_the_start(orlop: Run) -> None:
    outcome = orlop("run", "--rm", "busybox", "true", answers=container(7))
    assert (outcome.status, outcome.out) == (7, "out\nend\n")
    assert outcome.err == "orlop: warning: careful\nerr\n"
    calls = [(asked.path.rpartition("/")[2], asked.query) for asked in outcome.fake.asked]
    assert calls == [
        ("create", {}),
        ("attach", {"stream": ["1"], "stdout": ["1"], "stderr": ["1"]}),
        ("wait", {"condition": ["removed"]}),
        ("start", {}),
    ]


def test_without_rm_the_next_exit_is_awaited_and_only_wanted_streams_are_shown(orlop: Run) -> None:
    outcome = orlop("run", "-a", "stderr", "busybox", answers=container())
    assert (outcome.status, outcome.out) == (0, "")
    assert outcome.err.endswith("err\n")
    assert outcome.fake.asked[2].query == {"condition": ["next-exit"]}


@pytest.mark.parametrize(
    ("message", "status"),
    [
        ('exec: "x": executable file not found in $PATH', 127),
        ("stat /x: no such file or directory", 127),
        ('exec: "/etc/passwd": permission denied', 126),
        ('exec: "/etc": is a directory', 126),
        ("no space left on device", 125),
    ],
)
def test_a_start_that_fails_tells_by_its_status_why(orlop: Run, message: str, status: int) -> None:
    assert start_status(message) == status
    failing = container(**{f"POST /containers/{ID}/start": (400, {"message": message})})
    outcome = orlop("run", "busybox", answers=failing)
    assert (outcome.status, outcome.out) == (status, "")
    assert f"orlop: {message}\n" in outcome.err
    assert "DELETE" not in [asked.method for asked in outcome.fake.asked]


def test_a_container_that_should_go_after_its_exit_goes_too_when_it_cannot_start(orlop: Run) -> None:
    answers = container(**{f"POST /containers/{ID}/start": (500, {"message": "no"}), f"DELETE /containers/{ID}": 204})
    outcome = orlop("run", "--rm", "-d", "busybox", answers=answers)
    assert outcome.status == 125
    assert outcome.fake.last.method == "DELETE"
    assert outcome.fake.last.query == {"force": ["1"], "v": ["1"]}


def test_in_the_background_the_id_is_printed_and_nothing_is_joined(orlop: Run) -> None:
    outcome = orlop("run", "-d", "busybox", answers=container())
    assert outcome.out == ID + "\n"
    assert [asked.path.rpartition("/")[2] for asked in outcome.fake.asked] == ["create", "start"]
    assert outcome.fake.asked[0].json["AttachStdout"] is False


def test_in_the_background_nothing_can_be_joined(orlop: Run) -> None:
    outcome = orlop("run", "-d", "-a", "stdout", "busybox", answers=container())
    assert (outcome.status, outcome.fake.asked) == (125, [])


def test_an_exit_that_the_daemon_could_not_await_is_the_engines_failure(orlop: Run) -> None:
    lost = {"StatusCode": 0, "Error": {"Message": "the supervisor is gone"}}
    outcome = orlop("run", "busybox", answers=container(**{f"POST /containers/{ID}/wait": lost}))
    assert outcome.status == 125
    assert "the supervisor is gone" in outcome.err


def test_a_daemon_that_dies_meanwhile_is_told(orlop: Run) -> None:
    outcome = orlop("run", "busybox", answers=container(**{f"POST /containers/{ID}/wait": raw_answer(b"")}))
    assert outcome.status == 125
    assert "closed the connection" in outcome.err


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ({"Running": False, "Status": "exited"}, "exited"),
        ({"Running": True, "Paused": True, "Status": "paused"}, "paused"),
    ],
)
def test_attach_to_what_does_not_run_is_refused(orlop: Run, state: dict[str, Any], text: str) -> None:
    facts = {"Id": ID, "Config": {"Tty": False, "OpenStdin": False}, "State": state}
    outcome = orlop("attach", "app", answers={"GET /containers/app/json": facts})
    assert outcome.status == 1
    assert f"it is {text}, not running" in outcome.err


def exec_answers(**changed: Any) -> Mapping[str, Any]:
    return {
        "POST /containers/app/exec": (201, {"Id": "e1"}),
        "POST /exec/e1/start": raw_answer(UPGRADED + FRAMES),
        "GET /exec/e1/json": {"ExitCode": 5, "Running": False},
        **changed,
    }


def test_exec_ends_with_the_commands_code(orlop: Run) -> None:
    outcome = orlop("exec", "-e", "A=b", "-u", "1", "app", "sh", "-c", "exit 5", answers=exec_answers())
    assert (outcome.status, outcome.out, outcome.err) == (5, "out\nend\n", "err\n")
    body = outcome.fake.asked[0].json
    assert (body["Cmd"], body["Env"], body["User"], body["AttachStdin"]) == (
        ["sh", "-c", "exit 5"],
        ["A=b"],
        "1",
        False,
    )


def test_exec_of_what_is_not_there_is_127_and_in_the_background_nothing_is_awaited(orlop: Run) -> None:
    failing = exec_answers(**{"POST /exec/e1/start": (400, {"message": "executable file not found in $PATH"})})
    assert orlop("exec", "app", "x", answers=failing).status == 127
    outcome = orlop("exec", "-d", "app", "x", answers=exec_answers(**{"POST /exec/e1/start": 200}))
    assert (outcome.status, outcome.out) == (0, "")
    assert outcome.fake.last.json["Detach"] is True


def test_logs_go_where_they_were_written_to(orlop: Run) -> None:
    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        for cut in (FRAMES[:3], FRAMES[3:20], FRAMES[20:]):
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(cut), cut))
        handler.wfile.write(b"0\r\n\r\n")

    answers = {"GET /containers/app/json": {"Config": {"Tty": False}}, "GET /containers/app/logs": answer}
    outcome = orlop("logs", "--tail", "5", "-t", "app", answers=answers)
    assert (outcome.out, outcome.err) == ("out\nend\n", "err\n")
    assert outcome.fake.last.query == {"stdout": ["1"], "stderr": ["1"], "tail": ["5"], "timestamps": ["1"]}


def test_the_keys_that_detach_are_found_across_reads_and_everything_else_passes() -> None:
    keys = DetachKeys(parse_detach_keys("ctrl-p,ctrl-q"))
    assert keys.filter(b"a\x10") == b"a", "it may be the beginning"
    assert keys.filter(b"b") == b"\x10b", "it was not"
    assert keys.filter(b"\x10\x10") == b"\x10"
    assert not keys.pressed
    assert keys.filter(b"\x11rest") == b""
    assert keys.pressed


@pytest.mark.parametrize(
    ("text", "keys"), [("ctrl-p,ctrl-q", b"\x10\x11"), ("a,ctrl-[,ctrl-@", b"a\x1b\x00"), ("~", b"~")]
)
def test_keys_that_detach(text: str, keys: bytes) -> None:
    assert parse_detach_keys(text) == keys


@pytest.mark.parametrize("text", ["", "ctrl-", "ctrl-P", "ctrl-1", "shift-a", "a,,b", "ä"])
def test_keys_that_no_terminal_sends_are_refused(text: str) -> None:
    with pytest.raises(ClientError, match="--detach-keys"):
        parse_detach_keys(text)
