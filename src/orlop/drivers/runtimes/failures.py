"""What a runtime's last words mean.

crun and runc say the same thing differently, and the docker CLI makes its exit code out of the text: 127 for
"executable file not found" and "no such file or directory", 126 for "permission denied" and "is a directory". So the
few cases that a user meets every day are told in one wording, Docker's; everything else is passed on as it was said.
"""

import json
import re

from orlop.errors import Forbidden, HostFailure, NotFound, OrlopError

_NOT_FOUND = re.compile(
    r"executable file (?:`[^`]*' |`[^`]*` |'[^']*' )?not found|exec: \".*\": stat .*: no such file", re.I
)
_NO_SUCH = re.compile(r"no such file or directory|does not exist", re.I)
_DENIED = re.compile(r"permission denied|exec format error|is a directory", re.I)


def failure(operation: str, program: str, said: str) -> OrlopError:
    """`operation` is create or exec; `program` what was to be run."""
    text = last_words(said)
    subject = f"OCI runtime {operation} failed"
    where = "unable to start container process"
    lowered = text.lower()
    if _NOT_FOUND.search(text):
        if "/" in program:
            return NotFound(subject, f'{where}: exec: "{program}": stat {program}: no such file or directory')
        return NotFound(subject, f'{where}: exec: "{program}": executable file not found in $PATH')
    if _is_about_program(lowered, program):
        if _NO_SUCH.search(lowered):
            return NotFound(subject, f'{where}: exec: "{program}": stat {program}: no such file or directory')
        if "is a directory" in lowered:
            return Forbidden(subject, f'{where}: exec: "{program}": is a directory')
        if _DENIED.search(lowered):
            return Forbidden(subject, f'{where}: exec: "{program}": permission denied')
    return HostFailure(subject, text)


def _is_about_program(lowered: str, program: str) -> bool:
    return (
        f'exec: "{program.lower()}"' in lowered
        or lowered.startswith(("open executable", "exec ", "cannot find", "execv"))
        or lowered in ("permission denied", "no such file or directory")
    )


def last_words(said: str) -> str:
    """The error out of a runtime's stderr: crun's line or the last entry of runc's log, without prefixes."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if not lines:
        return "the runtime gave no reason"
    line = lines[-1]
    if line.startswith("{"):
        try:
            line = str(json.loads(line).get("msg", line))
        except ValueError:
            return line
    logged = re.search(r'level=(?:error|fatal) msg="((?:[^"\\]|\\.)*)"', line)
    if logged:
        line = logged.group(1).replace('\\"', '"')
    return line.removeprefix("runc create failed: ").removeprefix("runc exec failed: ")
