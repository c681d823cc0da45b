"""A host's name to an address, with a deadline: a name server that does not answer must not keep a caller."""

import queue
import socket
import threading
from ipaddress import ip_address


def resolve(host: str, seconds: float) -> str:
    """The address, IPv4 where there is one; what is an address already comes back as it is. Raises TimeoutError
    where no name server answers, OSError with the reason as its text."""
    try:
        ip_address(host.partition("%")[0])
    except ValueError:
        return _look_up(host, seconds)
    return host


def _look_up(host: str, seconds: float) -> str:
    # A thread that can be left behind: the resolver gives up by itself, only later.
    answers: queue.SimpleQueue[str | OSError | UnicodeError] = queue.SimpleQueue()

    def ask() -> None:
        try:
            found = socket.getaddrinfo(host, None, proto=socket.IPPROTO_TCP)
            first = min(found, key=lambda entry: entry[0] != socket.AF_INET)
            answers.put(str(first[4][0]))
        except (OSError, UnicodeError) as error:
            answers.put(error)

    threading.Thread(target=ask, name=f"resolve {host}", daemon=True).start()
    try:
        answer = answers.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if isinstance(answer, UnicodeError):
        raise OSError("not the name of a host") from answer
    if isinstance(answer, socket.gaierror) and answer.errno == socket.EAI_AGAIN:
        raise TimeoutError(f"{answer.strerror}")  # no name server answers: at boot, the network may come yet
    if isinstance(answer, OSError):
        raise OSError(answer.strerror or str(answer)) from answer
    return answer
