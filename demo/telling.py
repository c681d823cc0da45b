"""How a story is told: what happens, the commands with what they answer, and what was promised."""

import shlex

from support.daemon import Result
from support.hosts import Host


class NotTrue(Exception):
    """The story is not as it is told."""


def say(text: str) -> None:
    print(f"\n\033[1m{text}\033[0m", flush=True)


def show(host: Host, *command: str, code: int = 0) -> Result:
    """`command` begins with docker or orlop; it is run on that host, and has to end with that code."""
    print(f"  {host.name}$ {shlex.join(command)}", flush=True)
    ask = host.docker if command[0] == "docker" else host.orlop
    done = ask(*command[1:], code=None, timeout=90)
    for line in (done.stdout + done.stderr).splitlines():
        print(f"    {line}", flush=True)
    if done.returncode != code:
        raise NotTrue(f"{shlex.join(command)} ended with {done.returncode}")
    return done


def promise(text: str, is_so: object) -> None:
    if not is_so:
        raise NotTrue(text)
    print(f"  ok: {text}", flush=True)
