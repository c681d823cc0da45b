"""Network namespaces made without a process.

A namespace belongs to a thread, not to a process. So a new one is made by a thread started for this alone: it leaves
the daemon's namespace (unshare), pins the new one by a bind mount of /proc/thread-self/ns/net, opens a netlink socket
inside, and ends. The other threads never leave theirs, nothing is forked (no copy of a process with many threads, whose
locks could be held by nobody), and no helper program is started: a tenth of the time of `ip netns add`.

The thread must never be one of a pool: it could not be trusted to go back home if setns failed.
"""

import errno
import fcntl
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from orlop.kernel.libc import LIBC, check
from orlop.kernel.mounts import MNT_DETACH, MS_BIND, mount, unmount
from orlop.kernel.netlink import RouteSocket

CLONE_NEWNS = 0x00020000
CLONE_NEWNET = 0x40000000

T = TypeVar("T")


def unshare(flags: int) -> None:
    """Only for a thread of its own: see above."""
    check(LIBC.unshare(flags), "unshare")


def setns(fd: int, kind: int) -> None:
    """Only for a thread of its own: see above."""
    check(LIBC.setns(fd, kind), "setns")


def in_own_thread(action: Callable[[], T]) -> T:
    """Run in a thread that ends with the call, so that what it does to its namespaces ends too."""
    results: list[T] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(action())
        except BaseException as error:  # noqa: BLE001 - handed to the caller, whatever it is
            errors.append(error)

    thread = threading.Thread(target=run, name="namespace", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def create_network_namespace(pin: Path) -> RouteSocket:
    """A new namespace, held by a mount on the file `pin` (made if need be), and a socket inside it, which the caller
    closes. New interfaces in it have no IPv6 until somebody switches it on; its loopback has."""

    def make() -> RouteSocket:
        os.close(os.open(pin, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o444))
        unshare(CLONE_NEWNET)
        _disable_ipv6_by_default()
        mount("/proc/thread-self/ns/net", pin, "", MS_BIND)
        try:
            return RouteSocket()
        except BaseException:
            unmount(pin, MNT_DETACH)
            raise

    try:
        return in_own_thread(make)
    except BaseException:
        pin.unlink(missing_ok=True)
        raise


def remove_network_namespace(pin: Path) -> None:
    """Let go of the namespace; it ends with its last process. Gone already is success."""
    try:
        unmount(pin, MNT_DETACH)
    except FileNotFoundError:
        return
    except OSError as error:
        if error.errno != errno.EINVAL:  # no mount there, a file left by a crash between creating and mounting
            raise
    pin.unlink(missing_ok=True)


def _disable_ipv6_by_default() -> None:
    # /proc/sys/net shows the namespace of the thread that looks.
    try:
        with open("/proc/sys/net/ipv6/conf/default/disable_ipv6", "wb", buffering=0) as switch:  # noqa: PTH123
            switch.write(b"1")
    except FileNotFoundError:
        pass  # a kernel without IPv6


@contextmanager
def network_namespace_lock() -> Iterator[None]:
    """Held by one process of a network namespace at a time: several daemons choosing a subnet do it one by one. The
    lock is on the namespace's own inode, so it reaches exactly as far as the addresses do, and leaves no file."""
    fd = os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
