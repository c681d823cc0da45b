"""How long storage of somebody else's is waited for, and what is said when it does not answer."""

from collections.abc import Iterable
from pathlib import Path

from orlop.errors import Unavailable
from orlop.kernel.answering import require_answer

ANSWER_SECONDS = 10.0
WAY_OUT = "Bring its server back, or unmount it; everything else goes on"


def require_storage(subject: str, path: str | Path, seconds: float = ANSWER_SECONDS) -> bool:
    """Whether the path is there. Raises Unavailable where its storage does not say so in time."""
    try:
        return require_answer(str(path), seconds)
    except TimeoutError as error:
        raise Unavailable(subject, f"the storage under {path} gave no answer", WAY_OUT) from error


def silent_storage(paths: Iterable[str], seconds: float = 2.0) -> list[str]:
    """Those of them that do not answer now."""
    silent = []
    for path in filter(None, paths):
        try:
            require_answer(path, seconds)
        except TimeoutError:
            silent.append(path)
    return silent
