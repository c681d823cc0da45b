"""The user's terminal: raw while a container has it, as it was on every way out; its size; the keys that detach."""

import os
import sys
import termios
from collections.abc import Iterator
from contextlib import contextmanager

from orlop.client.errors import ClientError

DEFAULT_DETACH_KEYS = "ctrl-p,ctrl-q"


def is_terminal(descriptor: int) -> bool:
    return os.isatty(descriptor)


def require_terminal(wants_tty: bool, wants_stdin: bool) -> None:
    """Raises ClientError where a container's terminal would read from something that is none."""
    if wants_tty and wants_stdin and not is_terminal(0):
        raise ClientError("the input device is not a TTY: leave -t out, or run it in a terminal")


def size() -> tuple[int, int] | None:
    """(rows, columns), None where there is no terminal."""
    for descriptor in (1, 0, 2):
        try:
            found = os.get_terminal_size(descriptor)
        except OSError:
            continue
        return found.lines, found.columns
    return None


@contextmanager
def raw(descriptor: int) -> Iterator[None]:
    """Bytes pass as they are typed; the setting before is put back, whatever happens within."""
    if not is_terminal(descriptor):
        yield
        return
    before = termios.tcgetattr(descriptor)
    changed = termios.tcgetattr(descriptor)
    changed[0] &= ~(
        termios.IGNBRK | termios.BRKINT | termios.PARMRK | termios.ISTRIP
        | termios.INLCR | termios.IGNCR | termios.ICRNL | termios.IXON
    )  # fmt: skip
    changed[1] &= ~termios.OPOST
    changed[2] = (changed[2] & ~(termios.CSIZE | termios.PARENB)) | termios.CS8
    changed[3] &= ~(termios.ECHO | termios.ECHONL | termios.ICANON | termios.ISIG | termios.IEXTEN)
    changed[6][termios.VMIN] = 1
    changed[6][termios.VTIME] = 0
    termios.tcsetattr(descriptor, termios.TCSANOW, changed)
    try:
        yield
    finally:
        sys.stdout.flush()
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)


def parse_detach_keys(text: str) -> bytes:
    """`ctrl-p,ctrl-q` as the bytes that the terminal sends for them. Raises ClientError."""
    keys = bytearray()
    for word in text.split(","):
        letter = word.removeprefix("ctrl-")
        if len(word) == 1 and word.isascii():
            keys.append(ord(word))
        elif word != letter and len(letter) == 1 and ((letter.isascii() and letter.islower()) or letter in "@[\\]^_"):
            keys.append(ord(letter.upper()) & 0x1F)
        else:
            raise ClientError(f"--detach-keys {text!r}: use letters and ctrl-LETTER, with commas between", 125)
    return bytes(keys)


class DetachKeys:
    """Watches what is typed for the sequence; holds back what may be its beginning."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._seen = 0
        self.pressed = False

    def filter(self, typed: bytes) -> bytes:
        """What to pass on. `pressed` is set when the sequence is complete."""
        passed = bytearray()
        for byte in typed:
            if byte == self._keys[self._seen]:
                self._seen += 1
                if self._seen == len(self._keys):
                    self.pressed = True
                    break
                continue
            passed += self._keys[: self._seen]
            self._seen = 0
            if byte == self._keys[0]:
                self._seen = 1
            else:
                passed.append(byte)
        return bytes(passed)
