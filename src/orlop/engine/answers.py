"""Waiting for the answer to a question (driver.Question) in a thread that has nothing else to do."""

import select
import time

from orlop.drivers.volumes.abilities import Question


def is_answered(question: Question[object], seconds: float) -> bool:
    """Whether there is an answer, or will be none, by then."""
    deadline = time.monotonic() + seconds
    poll = select.poll()
    poll.register(question.fileno(), select.POLLIN)
    while not question.look():
        left = min(deadline - time.monotonic(), question.seconds)
        if deadline <= time.monotonic():
            return False
        poll.poll(max(left, 0) * 1000 + 1)
    return True
