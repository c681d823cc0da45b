"""A process that ends just before its Nth call to the file system (dies_before), or is killed before its Nth call that
changes anything outside it: files, mounts, devices (dies_at), or as soon as it has started its Nth program, which then
goes on without it (dies_beside)."""

import os
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

_MODULES = ("posix", "fcntl", "_posixsubprocess")
_CALLS = ("mkdir", "rmdir", "rename", "unlink", "ftruncate", "chmod", "fchmod", "fchown", "write", "ioctl", "fork_exec")

_EVENTS = ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.chown", "os.chmod", "os.link", "os.symlink")
_DIED = 7


def dies_at(step: int, act: Callable[[], object]) -> bool:
    """Run `act` in a child that is killed before that step (from 0). False: it had fewer steps, and came to its end."""
    return _killed(_before_call(step), act)


def dies_beside(number: int, act: Callable[[], object]) -> bool:
    """Run `act` in a child that is killed when it has started that program (from 0). False: it started fewer."""
    return _killed(_after_start(number), act)


Watch = Callable[[FrameType, str, Any], None]


def _killed(watch: Watch, act: Callable[[], object]) -> bool:
    child = os.fork()
    if child == 0:
        try:
            sys.setprofile(watch)
            act()
            sys.setprofile(None)
        except BaseException as error:  # noqa: BLE001 - the parent must not go on as two
            sys.setprofile(None)
            os.write(2, f"{type(error).__name__}: {error}\n".encode())
            os._exit(3)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    if os.WIFSIGNALED(status):
        assert os.WTERMSIG(status) == signal.SIGKILL
        return True
    assert os.WEXITSTATUS(status) == 0, "what was to die failed"
    return False


def _before_call(step: int) -> Watch:
    left = step

    def watch(frame: FrameType, event: str, call: Any) -> None:
        nonlocal left
        # Calls through ctypes are seen by the function that reads their result.
        seen = event == "c_call" and getattr(call, "__name__", "") in _CALLS and call.__module__ in _MODULES
        if seen or (event == "call" and frame.f_code.co_name == "check" and "kernel/libc" in frame.f_code.co_filename):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    return watch


def _after_start(number: int) -> Watch:
    left = number

    def watch(frame: FrameType, event: str, call: Any) -> None:
        nonlocal left
        if event == "c_return" and getattr(call, "__name__", "") == "fork_exec":
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    return watch


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
