"""Where the host's programs for administrators are: a daemon's PATH need not have them."""

import shutil

_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"


def find_system_program(name: str) -> str | None:
    return shutil.which(name) or shutil.which(name, path=_SBIN)
