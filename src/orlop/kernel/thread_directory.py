"""A working directory for one thread alone.

mount(2) takes one page of options; a stack of layers fits in only with relative paths, and chdir moves the whole
process. A thread that gave up sharing its file system attributes (unshare CLONE_FS) has a working directory of its own.
"""

import os
from collections.abc import Callable
from pathlib import Path
from threading import Thread

from orlop.kernel.libc import LIBC, check

_CLONE_FS = 0x200


def call_in_directory(path: Path, call: Callable[[], None]) -> None:
    """Run `call` with `path` as working directory, on a thread that ends with it."""
    failures: list[BaseException] = []

    def run() -> None:
        try:
            check(LIBC.unshare(_CLONE_FS), "unshare")
            os.chdir(path)
            call()
        except BaseException as error:  # noqa: BLE001 - handed to the caller's thread
            failures.append(error)

    thread = Thread(target=run, name="chdir", daemon=True)
    thread.start()
    thread.join()
    if failures:
        raise failures[0]
