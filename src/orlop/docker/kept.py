"""Answers given again while what they tell stays as it is: spelling one takes longer than the rest of its call.

Nothing here knows when something changes. Whoever asks says what the answer is to tell, or a version of that, and gets
the one that was kept for the very same.
"""

from typing import Generic, TypeVar

from orlop.docker.messages import Response

Told = TypeVar("Told")


class KeptReplies(Generic[Told]):
    """The latest answer of each key, of at most so many. Thread-safe."""

    __slots__ = ("_kept", "_most")

    def __init__(self, most: int) -> None:
        self._most = most
        self._kept: dict[str, tuple[Told, Response]] = {}

    def find(self, key: str, told: object) -> Response | None:
        kept = self._kept.get(key)
        return kept[1] if kept is not None and kept[0] == told else None

    def keep(self, key: str, told: Told, reply: Response) -> Response:
        if len(self._kept) >= self._most:
            self._kept.clear()
        self._kept[key] = (told, reply)
        return reply
