"""A process that ends before its n-th call to the file system, as by SIGKILL."""

import os
import sys
from collections.abc import Callable

_EVENTS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chown", "os.chmod", "os.link", "os.symlink")
_DIED = 7


def dies_before(number: int, act: Callable[[], object]) -> bool:
    """Do `act` in a child that ends before call `number` (from 0). False when it came to its end before that."""
    child = os.fork()
    if child == 0:
        calls = 0

        def count(event: str, arguments: tuple[object, ...]) -> None:
            nonlocal calls
            if event in _EVENTS:
                if calls == number:
                    os._exit(_DIED)
                calls += 1

        code = 1
        try:
            sys.addaudithook(count)
            act()
            code = 0
        finally:
            os._exit(code)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, _DIED), f"the child failed with {code}"
    return code == _DIED
