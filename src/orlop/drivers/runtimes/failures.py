"""What a runtime's last words mean.

crun and runc say the same thing differently, and the docker CLI makes its exit code out of the text: 127 for
"executable file not found" and "no such file or directory", 126 for "permission denied" and "is a directory". So what
a user meets every day is told in one wording, the one that Docker's users know; the rest is passed on as it was said.
"""

import json
import re

from orlop.errors import Forbidden, HostFailure, Malformed, NotFound, OrlopError

_LOGGED = re.compile(r'level=(?:error|fatal) msg="((?:[^"\\]|\\.)*)"')
_PREFIXES = ("runc create failed: ", "runc exec failed: ", "exec failed: ", "unable to start container process: ")
_MOUNT_HINT = (
    "Are you trying to mount a directory onto a file (or vice-versa)? Check if the specified host path exists and is"
    " the expected type"
)


def failure(operation: str, program: str, said: str) -> OrlopError:
    """`operation` is create or exec; `program` what was to be run; `said` the runtime's stderr."""
    text = _in_known_words(last_words(said), program)
    subject = f"OCI runtime {operation} failed: unable to start container process"
    if text.startswith(("exec: ", "chdir to cwd ")):
        if "not found in $PATH" in text or "no such file or directory" in text:
            return NotFound(subject, text)
        if "permission denied" in text:
            return Forbidden(subject, text)
    if "mount" in text and text.endswith("not a directory"):
        return Malformed(subject, text, _MOUNT_HINT)
    return HostFailure(subject, text)


def last_words(said: str) -> str:
    """The error out of a runtime's stderr: crun's line or the last entry of runc's log, without the prefixes that say
    nothing."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    if not lines:
        return "the runtime gave no reason"
    line = lines[-1]
    logged = _LOGGED.search(line)
    if logged:
        try:
            line = str(json.loads(f'"{logged.group(1)}"'))
        except ValueError:  # runc quotes as Go does, which is JSON but for rare characters
            line = logged.group(1)
    for prefix in _PREFIXES:
        line = line.removeprefix(prefix)
    return line


def _in_known_words(text: str, program: str) -> str:
    """crun's sentences as runc, and so Docker, would put them."""
    if re.match(r"executable file `.*` not found", text):
        where = f"stat {program}: no such file or directory" if "/" in program else "executable file not found in $PATH"
        return f'exec: "{program}": {where}'
    if text in ("open executable: Permission denied", "open executable: Operation not permitted"):
        # The second is crun's word for what is no regular file, a directory for one.
        return f'exec: "{program}": permission denied'
    if text.startswith("open executable: "):
        return f'exec: "{program}": stat {program}: {_decapitalised(text.removeprefix("open executable: "))}'
    chdir = re.match(r"chdir `(.*)`: (.*)", text)
    if chdir:
        return f'chdir to cwd ("{chdir.group(1)}") set in config.json failed: {_decapitalised(chdir.group(2))}'
    head, separator, reason = text.rpartition(": ")
    return f"{head}{separator}{_decapitalised(reason)}"


def _decapitalised(reason: str) -> str:
    """The C library's messages begin with a capital, Go's do not, and the CLI looks for Go's."""
    return reason[:1].lower() + reason[1:] if reason[1:2].islower() else reason
