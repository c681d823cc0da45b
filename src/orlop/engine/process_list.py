"""`docker top`: the host's ps, and of its rows those whose process is in the container."""

import re
import subprocess
from collections.abc import Sequence

from orlop.errors import HostFailure, Malformed, Unavailable

_DEFAULT_ARGUMENTS = "-ef"
_SECONDS = 10
# -o NAME=header renames a column; a PID column under another name would let other processes' rows through.
_RENAMES_PID = re.compile(r"\s+(\S*)=\s*(PID\S*)")


def list_processes(pids: Sequence[int], arguments: str) -> tuple[Sequence[str], Sequence[Sequence[str]]]:
    """Titles and rows. Raises Malformed for arguments that leave no PID column to choose by."""
    arguments = arguments or _DEFAULT_ARGUMENTS
    for name, _ in _RENAMES_PID.findall(" " + arguments):
        if name != "pid":
            raise Malformed("", f'specifying "{name}=PID" is not allowed', "The PID column must be the process id")
    try:
        done = subprocess.run(
            ["ps", *arguments.split()], capture_output=True, text=True, errors="replace", timeout=_SECONDS, check=False
        )
    except FileNotFoundError as error:
        raise Unavailable("top", "the program ps is not installed", "Install the package procps") from error
    if done.returncode != 0:
        raise HostFailure("", f"ps: {done.stderr.strip() or 'failed'}", "Check the arguments given to top")
    lines = done.stdout.splitlines()
    titles = lines[0].split()
    if "PID" not in titles:
        raise Malformed("", "Couldn't find PID field in ps output", "Add pid to the columns asked for")
    column = titles.index("PID")
    wanted = {str(pid) for pid in pids}
    rows = [line.split(None, len(titles) - 1) for line in lines[1:]]
    return titles, [row for row in rows if len(row) > column and row[column] in wanted]
