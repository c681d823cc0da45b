"""A Linux that has what this machine's lacks: User-Mode Linux (Debian's user-mode-linux), an ordinary program.

Its root is this machine's, so that the tests and their interpreter are there; what is made on it for a test is on a
tmpfs of its own and gone with it.
"""

import os
import shlex
import shutil
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

KERNEL = shutil.which("linux.uml")
MODULES = Path("/usr/lib/uml/modules")
CHECKOUT = Path(__file__).parents[2]
_WANTED = ("loop", "quota_tree", "quota_v2")

_INSERT = """
import ctypes, os, sys
for path in sys.argv[1:]:
    fd = os.open(path, os.O_RDONLY)
    assert ctypes.CDLL(None).syscall(313, fd, b"", 0) == 0, path  # finit_module(2) of x86-64
"""
_INIT = """#!/bin/sh
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs run /run; mkdir /run/lock
mount -t devtmpfs dev /dev 2>/dev/null
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/run PYTHONDONTWRITEBYTECODE=1 PYTHONPATH={checkout}/src
cd {checkout}
{python} -c {insert} {modules} || echo FAILED: modules
ip link set lo up 2>/dev/null
{commands}
halt -f
"""


def run_in_another_kernel(
    directory: Path, commands: Sequence[Sequence[str]], seconds: float = 100, modules: Sequence[str] = _WANTED
) -> str:
    """What the commands said, each followed by its exit code. They have TMPDIR on a file system in memory."""
    assert KERNEL is not None
    steps = [f"TMPDIR=/run {shlex.join(command)} 2>&1; echo EXIT: $?" for command in commands]
    init = directory / "init"
    init.write_text(
        _INIT.format(
            checkout=shlex.quote(str(CHECKOUT)),
            python=shlex.quote(sys.executable),
            insert=shlex.quote(_INSERT),
            modules=" ".join(map(str, _with_needed(modules))),
            commands="\n".join(steps),
        )
    )
    init.chmod(0o755)
    arguments = ["mem=1024M", "rootfstype=hostfs", "rw", f"init={init}", "con=null", "con0=null,fd:1", "quiet"]
    kernel = subprocess.Popen(
        [KERNEL, *arguments, f"uml_dir={directory}/uml"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "TMPDIR": "/dev/shm"},
        start_new_session=True,
    )
    try:
        said, _ = kernel.communicate(timeout=seconds)
    except BaseException:
        # Each of its processes is one of this machine's as well. It is not waited for yet, so its number is its own.
        os.killpg(kernel.pid, signal.SIGKILL)
        kernel.wait()
        raise
    return said.decode(errors="replace").replace("\r", "")


def _with_needed(names: Sequence[str]) -> list[Path]:
    """Each module after those that it needs."""
    (table,) = MODULES.glob("*/modules.dep")
    needs = {path: rest.split() for path, _, rest in (line.partition(":") for line in table.read_text().splitlines())}
    paths = {Path(path).stem.replace("-", "_"): path for path in needs}
    wanted: dict[str, None] = {}
    for name in names:
        for path in (*reversed(needs[paths[name]]), paths[name]):
            wanted.setdefault(path)
    return [table.parent / path for path in wanted]
