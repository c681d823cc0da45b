"""What the kernel says, as a HostFailure that names what was being done."""

from collections.abc import Iterator
from contextlib import contextmanager

from orlop.errors import HostFailure


@contextmanager
def blaming(subject: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise HostFailure(subject, str(error)) from error
