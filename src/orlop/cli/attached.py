"""A container in the foreground: `run`, `start --attach` and `attach` differ only in what comes before.

The order matters: the streams are joined and the exit is waited for before the container starts, so that nothing of a
short-lived one is missed, even when it is removed as soon as it exits.
"""

import contextlib
import json
import select
import signal
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from orlop.cli.app import App
from orlop.cli.output import warn
from orlop.cli.streaming import Signals, Stream
from orlop.cli.terminal import DEFAULT_DETACH_KEYS, DetachKeys, is_terminal, parse_detach_keys, raw, size
from orlop.client.api import quote
from orlop.client.errors import ApiError, ClientError

if TYPE_CHECKING:
    from orlop.client.http import Response

FORWARDED = frozenset(
    {
        signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGABRT,
        signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM, signal.SIGTERM,
    }
)  # fmt: skip
_PATIENCE = 3  # so many times ctrl-c or SIGTERM without an exit, and the command leaves
ENGINE_FAILED, CANNOT_INVOKE, NOT_FOUND = 125, 126, 127
_NOT_FOUND_TEXTS = ("executable file not found", "no such file or directory", "system cannot find the file specified")
_CANNOT_INVOKE_TEXTS = ("permission denied", "is a directory", "exec format error")


class Foreground(NamedTuple):
    """What to join: which streams, and what the user may do meanwhile. (Importing dataclasses takes 2 ms.)"""

    container: str
    tty: bool
    stdin: bool
    outputs: frozenset[str] = frozenset({"stdout", "stderr"})
    forwards_signals: bool = True
    detach_keys: str = ""
    wait_condition: str = "next-exit"


def run_in_foreground(app: App, wish: Foreground, start: Callable[[], None]) -> int:
    """Join, start, and stay until it exits or the user detaches; the exit status that follows."""
    keys = parse_detach_keys(wish.detach_keys or DEFAULT_DETACH_KEYS)
    query = {
        "stream": True,
        "stdin": wish.stdin,
        "stdout": "stdout" in wish.outputs,
        "stderr": "stderr" in wish.outputs,
        "detachKeys": wish.detach_keys or None,
    }
    path = f"/containers/{quote(wish.container)}"
    connection, received = app.api.hijack(f"{path}/attach", query)
    signals = None
    try:
        exit_answer = app.api.stream("POST", f"{path}/wait", {"condition": wish.wait_condition})
        signals = Signals(_watched(wish), _signal_actor(app, wish))
        with _terminal(wish):
            start()
            if wish.tty:
                resize(app, f"{path}/resize")
            stream = Stream(
                connection,
                received,
                framed=not wish.tty,
                stdin=wish.stdin,
                outputs=wish.outputs,
                detach=DetachKeys(keys) if wish.tty and wish.stdin else None,
                signals=signals,
            )
            ended = stream.pump()
        if not ended:
            warn(f"detached: the container goes on (orlop attach {wish.container[:12]})")
            return 0
        return _exit_status(exit_answer, signals)
    finally:
        connection.close()
        if signals is not None:
            signals.restore()


def start_status(message: str) -> int:
    """The exit status for a container that could not be started, as Docker's command finds it: from the text."""
    if any(text in message for text in _NOT_FOUND_TEXTS):
        return NOT_FOUND
    if any(text in message for text in _CANNOT_INVOKE_TEXTS):
        return CANNOT_INVOKE
    return ENGINE_FAILED


def resize(app: App, path: str) -> None:
    """Tell the container's terminal the size of the user's. It may be gone already, which is no failure."""
    if (found := size()) is not None:
        with contextlib.suppress(ApiError):
            app.api.post(path, {"h": found[0], "w": found[1]})


def _watched(wish: Foreground) -> frozenset[int]:
    watched = frozenset({signal.SIGWINCH}) if wish.tty else frozenset[int]()
    return watched | FORWARDED if wish.forwards_signals else watched


def _signal_actor(app: App, wish: Foreground) -> Callable[[int], None]:
    path = f"/containers/{quote(wish.container)}"
    asked_to_end = 0

    def act(number: int) -> None:
        nonlocal asked_to_end
        if number == signal.SIGWINCH:
            resize(app, f"{path}/resize")
            return
        asked_to_end += number in (signal.SIGINT, signal.SIGTERM)
        if asked_to_end >= _PATIENCE:
            why = f"the program did not end on {asked_to_end} signals, and goes on without this command"
            raise ClientError(f"{why} (orlop kill {wish.container[:12]})", 128 + number)
        with contextlib.suppress(ApiError):  # it has just exited
            app.api.post(f"{path}/kill", {"signal": signal.Signals(number).name.removeprefix("SIG")})

    return act


def _terminal(wish: Foreground) -> "contextlib.AbstractContextManager[None]":
    return raw(0) if wish.tty and wish.stdin and is_terminal(0) else contextlib.nullcontext()


def _exit_status(answer: "Response", signals: Signals) -> int:
    """Signals are still passed on while the exit is awaited."""
    connection = answer.connection
    while not connection.has_received:
        ready, _, _ = select.select([connection.socket.fileno(), signals.fileno()], [], [])
        if signals.fileno() in ready:
            signals.handle()
        if connection.socket.fileno() in ready:
            break
    status: dict[str, Any] = json.loads(answer.read())
    if error := (status.get("Error") or {}).get("Message"):
        raise ClientError(error, ENGINE_FAILED)
    return int(status["StatusCode"])
