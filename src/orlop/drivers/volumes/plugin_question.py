"""A question to a plugin that is on its way, while whoever asked does other things (driver.Question).

It goes out only to a plugin that is there, on a connection that is open, and costs no thread. Whatever is out of the
ordinary (a plugin that was replaced, has closed, has to be activated) is for the call that waits.
"""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from orlop.drivers.volumes.plugin_answers import parse_answer
from orlop.drivers.volumes.plugin_wire import CannotConnect, Sent, TooLate

T = TypeVar("T")


class PluginQuestion(Generic[T]):
    """`parse` makes the answer of what the plugin said, and raises what the call that waits raises; `is_late` is told
    why when it is given up."""

    def __init__(
        self,
        method: str,
        sent: Sent,
        parse: Callable[[Callable[[], dict[str, Any]]], T],
        is_late: Callable[[str], None],
    ) -> None:
        self._method, self._sent, self._parse, self._is_late = method, sent, parse, is_late

    @property
    def seconds(self) -> float:
        return self._sent.seconds

    def fileno(self) -> int:
        return self._sent.fileno()

    def look(self) -> bool:
        return self._sent.look()

    def answer(self) -> T | None:
        try:
            return self._parse(self._said)
        except _Unheard:
            return None

    def _said(self) -> dict[str, Any]:
        try:
            status, body = self._sent.answer()
        except CannotConnect as error:
            raise _Unheard from error
        except TooLate as error:
            self._is_late(f"{self._method}: {error}")
            raise
        return parse_answer(self._method, status, body)


class _Unheard(Exception):
    """It was asked of somebody who had hung up."""
