"""The child of orlop.kernel.mount_looks: the errno of a look at each path on its input (hexadecimal, one a line).

Run as a file and without the rest of Orlop, so that it is small: there is one for as long as the daemon lives.
"""

import os
import sys


def main() -> None:
    for line in sys.stdin:
        number = 0
        try:
            os.stat(bytes.fromhex(line))  # noqa: PTH116 - pathlib takes a while to import
        except OSError as error:
            number = error.errno or 0
        print(number, flush=True)


if __name__ == "__main__":
    main()
