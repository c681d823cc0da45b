"""Waiting on the event loop for the answer to a question (drivers/volumes/asking.py)."""

import asyncio

from orlop.drivers.volumes.abilities import Question


def answered(question: Question[object]) -> "asyncio.Future[None]":
    """Ends when there is an answer, or will be none. Also when nobody waits for it any more the question is looked
    after to its end."""
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[None] = loop.create_future()
    number = question.fileno()

    def look() -> None:
        if question.look():
            loop.remove_reader(number)
            late.cancel()
            if not ended.done():
                ended.set_result(None)
            else:
                give_back(question)

    late = loop.call_later(question.seconds + 0.01, look)
    loop.add_reader(number, look)
    return ended


def give_back(question: Question[object]) -> None:
    """Its connection, which nobody else will."""
    try:
        question.answer()
    except Exception:  # noqa: BLE001 - whoever asked has left
        return
