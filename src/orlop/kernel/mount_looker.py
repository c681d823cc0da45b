"""The child of orlop.kernel.mount_looks: the errno of a look at each path on its input (hexadecimal, one a line).
With the argument `read` it looks at the first block of each, past what the kernel remembers of it.

Run as a file and without the rest of Orlop, so that it is small: there is one for as long as the daemon lives.
"""

import mmap
import os
import sys

_BLOCK_BYTES = 4096


def _read(path: bytes) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    try:
        with mmap.mmap(-1, _BLOCK_BYTES) as block:
            os.preadv(fd, [block], 0)
    finally:
        os.close(fd)


def main() -> None:
    look = _read if sys.argv[1:] == ["read"] else os.stat
    for line in sys.stdin:
        number = 0
        try:
            look(bytes.fromhex(line))
        except OSError as error:
            number = error.errno or 0
        print(number, flush=True)


if __name__ == "__main__":
    main()
