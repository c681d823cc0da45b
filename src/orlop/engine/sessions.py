"""Streams into and out of containers: attach, exec, resize."""

import socket
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ExecWish:
    command: tuple[str, ...]
    env: tuple[str, ...] = ()
    user: str = ""
    workdir: str = ""
    tty: bool = False
    attach_stdin: bool = False
    attach_stdout: bool = False
    attach_stderr: bool = False
    privileged: bool = False
    detach_keys: str = ""
    console_height: int = 0
    console_width: int = 0


@dataclass(frozen=True, slots=True)
class Exec:
    id: str
    container_id: str
    wish: ExecWish
    running: bool = False
    exit_code: int | None = None
    pid: int = 0


class Sessions:
    def attach(self, reference: str) -> "Future[socket.socket]":
        """A connected packet socket (see Runtime.attach): at once for a running container, at its next start for one
        that is not. Cancel the future to give up waiting."""
        raise NotImplementedError

    def resize(self, reference: str, height: int, width: int) -> None:
        raise NotImplementedError

    def create_exec(self, reference: str, wish: ExecWish) -> str:
        raise NotImplementedError

    def start_exec(self, exec_id: str, detach: bool) -> socket.socket | None:
        """The attached socket, None when detached."""
        raise NotImplementedError

    def resize_exec(self, exec_id: str, height: int, width: int) -> None:
        raise NotImplementedError

    def get_exec(self, exec_id: str) -> Exec:
        raise NotImplementedError

    def exec_ids(self, container_id: str) -> Sequence[str]:
        raise NotImplementedError
