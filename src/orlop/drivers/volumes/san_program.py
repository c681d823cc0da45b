"""qemu-storage-daemon: the program that speaks iSCSI or NBD and shows the device as a file (a FUSE export).

    <place>/                the running program (mount_program); qmp in it is the socket to talk to it by
    <disk>                  the file, whose bytes are the device's; a FUSE mount on a file

Two things about it decide how it is used. Before version 8.0 its answer to a hole being punched is "done" where the
device did nothing, and the kernel takes what it asked to be zeroed so for zeroes: such a version gets a filter that
refuses all holes, and discards with them. And of two writes in flight at once one may get the other's bytes, in all
versions up to this day's: so the loop device above it never writes directly, but through the page cache, which keeps
the writes to one file one after the other (decision 0103).
"""

import json
import os
import platform
import re
import socket
import subprocess
from functools import lru_cache
from pathlib import Path
from typing import Any

from orlop.drivers.volumes.mount_program import Command, find_program
from orlop.drivers.volumes.san_options import IscsiDevice, NbdDevice, SanOptions
from orlop.errors import HostFailure, Unavailable

PROGRAM, PACKAGE = "qemu-storage-daemon", "qemu-system-common and qemu-block-extra"
_CHAP, _SOCKET = "chap", "qmp"
_DEVICE, _SHOWN = "device", "shown"
_ENOSYS = 38  # the kernel then asks for no hole any more
_FIRST_WITH_HOLES = (8, 0)
_FLUSHED_ONCE = range(6, 10)  # major versions whose sources say what `_guard` relies on; 7 was tried
_WAIT_SECONDS = 86400  # for an NBD server that has gone; iSCSI waits for ever
_ANSWER_SECONDS = 10.0


def san_command(options: SanOptions, place: Path, disk: Path) -> Command:
    """Raises Unsupported where the program is not installed."""
    program = find_program(PROGRAM, PACKAGE)
    files: dict[str, str] = {}
    argv = [program]
    device = options.device
    if isinstance(device, IscsiDevice) and device.chap_user:
        files[_CHAP] = device.chap_password
        secret = {"qom-type": "secret", "id": _CHAP, "file": str(place / _CHAP)}
        argv += ["--object", json.dumps(secret)]
    node = {
        **(_iscsi(device) if isinstance(device, IscsiDevice) else nbd_node(device)),
        "node-name": _DEVICE,
        "read-only": options.read_only,
        "discard": "unmap" if options.discard else "ignore",
    }
    argv += ["--blockdev", json.dumps(node)]
    shown = _DEVICE
    if not (options.discard and punches_holes_of_zeroes(program)):
        shown = _SHOWN
        argv += ["--blockdev", json.dumps({**_guard(program), "read-only": options.read_only})]
    argv += ["--chardev", f"socket,path={_SOCKET},server=on,wait=off,id=qmp", "--monitor", "chardev=qmp"]
    export: dict[str, Any] = {"type": "fuse", "id": "file", "node-name": shown, "mountpoint": str(disk)}
    export |= {"growable": False, "allow-other": "off", "writable": not options.read_only}
    return Command((*argv, "--export", json.dumps(export)), files)


def _guard(program: str) -> dict[str, Any]:
    """What refuses holes. Asked to flush, it flushes the device, and then has it flushed as its child as well: a second
    way to the server and back for each sync. Told to leave its own part out, it has its child flushed all the same."""
    refused = [{"event": "none", "iotype": "discard", "errno": _ENOSYS}]
    guard = {"driver": "blkdebug", "image": _DEVICE, "discard": "unmap", "inject-error": refused, "node-name": _SHOWN}
    return guard | ({"cache": {"no-flush": True}} if _version(program)[0] in _FLUSHED_ONCE else {})


def forget_secrets(place: Path) -> None:
    """Once it runs, it knows them."""
    (place / _CHAP).unlink(missing_ok=True)


def _iscsi(device: IscsiDevice) -> dict[str, Any]:
    node: dict[str, Any] = {
        "driver": "iscsi",
        "transport": "tcp",
        "portal": str(device.portal),
        "target": device.target,
        "lun": device.lun,
        "initiator-name": device.initiator or own_initiator(platform.node()),
    }
    return node | ({"user": device.chap_user, "password-secret": _CHAP} if device.chap_user else {})


def nbd_node(device: NbdDevice) -> dict[str, Any]:
    server = {"type": "inet", "host": device.server.host, "port": str(device.server.port)}
    return {"driver": "nbd", "server": server, "export": device.export, "reconnect-delay": _WAIT_SECONDS}


def own_initiator(host: str) -> str:
    """What this host calls itself, where the options give no name."""
    return f"iqn.2026-11.orlop:{re.sub('[^a-z0-9.-]', '-', host.lower()) or 'host'}"


def punches_holes_of_zeroes(program: str) -> bool:
    """Whether a hole that it says to have punched reads as zeroes. What cannot be told is taken for no."""
    return _version(program) >= _FIRST_WITH_HOLES


@lru_cache(maxsize=8)
def _version(program: str) -> tuple[int, int]:
    """0.0 where it cannot be told."""
    said = subprocess.run([program, "--version"], capture_output=True, text=True, timeout=30, check=False).stdout
    found = re.search(r"version (\d+)\.(\d+)", said)
    return (int(found[1]), int(found[2])) if found else (0, 0)


def refresh_size(subject: str, place: Path, size_bytes: int) -> int:
    """Let it ask the device how large it is now, and say so. `size_bytes`, what it was, keeps this from changing
    anything where a device could be made smaller so. Raises Unavailable when it does not answer in time."""
    query = ("query-named-block-nodes", {"flat": True})
    names = {node["node-name"] for node in _ask(subject, place, query)}
    top = _SHOWN if _SHOWN in names else _DEVICE  # what is below it is asked by it
    resize = ("block_resize", {"node-name": top, "size": size_bytes})
    nodes = _ask(subject, place, resize, query)
    return next(int(node["image"]["virtual-size"]) for node in nodes if node["node-name"] == top)


def _ask(subject: str, place: Path, *commands: tuple[str, dict[str, Any]]) -> Any:
    """One after the other; the last one's answer."""
    # By the directory's descriptor: the path of a unix socket ends at 107 characters.
    fd = os.open(place, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        with socket.socket(socket.AF_UNIX) as link:
            link.settimeout(_ANSWER_SECONDS)
            link.connect(f"/proc/self/fd/{fd}/{_SOCKET}")
            with link.makefile("rw", encoding="utf-8") as lines:
                lines.readline()  # its greeting
                answer: dict[str, Any] = {}
                for name, arguments in (("qmp_capabilities", {}), *commands):
                    lines.write(json.dumps({"execute": name, "arguments": arguments}) + "\n")
                    lines.flush()
                    answer = json.loads(lines.readline())
                    while "event" in answer:
                        answer = json.loads(lines.readline())
                    if "error" in answer:
                        raise HostFailure(subject, f"{PROGRAM}: {answer['error'].get('desc', 'it refused')}")
                return answer.get("return")
    except (OSError, ValueError) as error:
        hint = "Check that the storage can be reached from here"
        raise Unavailable(subject, f"{PROGRAM} does not answer: {error}", hint) from error
    finally:
        os.close(fd)
