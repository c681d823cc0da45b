"""Keeps to itself what options hold and nobody is shown: secrets that they name, passwords that stand in them plainly.

Whoever puts a value where a driver can see it notes it here first. From then on errors, problems, events and the log
say `********` in its place, also where they repeat what a program, a server or somebody's plugin said.
"""

import logging
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from re import Pattern
from typing import Any

from orlop.engine.redaction import compile_redaction, redact
from orlop.errors import OrlopError
from orlop.model.volume import secret_values


class Redactor:
    """Thread-safe. Values are noted and never forgotten: the log of a running program may hold the old one, too."""

    def __init__(self) -> None:
        self._values: frozenset[str] = frozenset()
        self._pattern: Pattern[str] | None = None
        self._lock = threading.Lock()

    def note(self, values: Iterable[str]) -> None:
        new = frozenset(filter(None, values)) - self._values
        if not new:
            return
        with self._lock:
            self._values |= new
            self._pattern = compile_redaction(self._values)

    def hide(self, text: str) -> str:
        return redact(text, self._pattern)

    def hide_in(self, found: Any) -> Any:
        """In all texts of something like JSON."""
        if isinstance(found, str):
            return self.hide(found)
        if isinstance(found, list | tuple):
            return [self.hide_in(each) for each in found]
        if isinstance(found, dict):
            return {self.hide_in(key): self.hide_in(value) for key, value in found.items()}
        return found

    @contextmanager
    def hiding(self, options: Mapping[str, str] | None = None) -> Iterator[None]:
        """In what is raised during the block, the passwords in these options too."""
        self.note(secret_values(options or {}))
        try:
            yield
        except OrlopError as error:
            error.subject, error.why, error.hint = map(self.hide, (error.subject, error.why, error.hint))
            error.args = (error.subject, error.why, error.hint)
            raise


class _RedactingFormatter(logging.Formatter):
    def __init__(self, formatter: logging.Formatter, redactor: Redactor) -> None:
        super().__init__()
        self._formatter = formatter
        self._redactor = redactor

    def format(self, record: logging.LogRecord) -> str:
        return self._redactor.hide(self._formatter.format(record))


def redact_log(redactor: Redactor) -> None:
    """From now on, of this process: tracebacks too, which hold what was raised."""
    for handler in logging.getLogger().handlers:
        if handler.formatter is not None:
            handler.setFormatter(_RedactingFormatter(handler.formatter, redactor))
