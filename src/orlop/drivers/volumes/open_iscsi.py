"""The kernel's iSCSI initiator, by open-iscsi: a session with a target, and the block device of one of its units.

    <run>/iscsid/             iscsid, where the host runs none: it logs in, and in again when a connection was cut
    <place>/files/            what iscsiadm sees in the place of /etc/iscsi: its node records are ours alone
    <place>/files/nodes/      0700, with the password; only while it logs in. iscsid is told by iscsiadm, and keeps it

A session is the kernel's: it outlives every process. It is known by its interface's name, which is the volume's.
"""

import errno
import fcntl
import logging
import os
import re
import socket
import threading
import time
from contextlib import suppress
from pathlib import Path
from platform import node
from shutil import rmtree

from orlop.drivers.volumes.mount_program import Command, MountProgram
from orlop.drivers.volumes.san_options import IscsiDevice
from orlop.drivers.volumes.san_program import own_initiator
from orlop.errors import HostFailure, OrlopError, Unavailable, Unsupported
from orlop.kernel.device_look import run_within
from orlop.kernel.private_directory import privately
from orlop.kernel.programs import find_system_program

log = logging.getLogger(__name__)

LOGIN_SECONDS = 40.0
LOGOUT_SECONDS = 15.0
_START_SECONDS = 10.0
_PACKAGE = "open-iscsi"
_ETC = "/etc/iscsi"
_CONTROL = b"\0ISCSIADM_ABSTRACT_NAMESPACE"
_NETLINK_ISCSI = 8
_SESSIONS = Path("/sys/class/iscsi_session")
_PLAIN = re.compile(r"[!-~]{1,255}")  # what a node record holds without being read otherwise
_REASON = re.compile(r"initiator reported error \([0-9]+ - (.*)\)")
_LOOK_SECONDS = 0.02
_AGAIN_SECONDS = 0.2
_TENDING = threading.Lock()  # while a thread starts the iscsid of this host

_NOT_SHOWN, _REFUSED = 19, 24  # how iscsiadm ends where no target is shown to us; where it wants another login


def why_not_here() -> str:
    """Why the kernel's initiator cannot be had; "" when it can."""
    for program in ("iscsiadm", "iscsid"):
        if find_system_program(program) is None:
            return f"{program} is not installed (package {_PACKAGE})"
    if not Path("/sys/module/iscsi_tcp").exists():
        modprobe = find_system_program("modprobe")
        if modprobe is None or run_within(20.0, (modprobe, "-q", "iscsi_tcp")).returncode:
            return "the kernel has no iSCSI initiator (modprobe iscsi_tcp)"
    try:
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, _NETLINK_ISCSI) as link:
            link.send((256).to_bytes(4, "little") + bytes(252))  # asks for nothing
    except OSError as error:
        return f"the kernel's iSCSI initiator cannot be reached from this network namespace ({error.strerror})"
    return ""


def why_not_for(device: IscsiDevice) -> str:
    """Why that device cannot be reached by it; "" when it can."""
    if "/" in device.target:
        return "open-iscsi knows no target with a slash in its name"
    words = (device.chap_user, device.chap_password) if device.chap_user else ()
    if not all(_PLAIN.fullmatch(word) for word in words):
        return "open-iscsi takes no user and no password with spaces or other than ASCII in them"
    return ""


def interface_name(san_id: str) -> str:
    return f"orlop-{san_id}"


def render_node(device: IscsiDevice, interface: str) -> str:
    """A node record. Storage that is away is waited for, as long as it takes."""
    values = {
        "node.name": device.target,
        "node.tpgt": "-1",
        "node.startup": "manual",
        "node.session.scan": "manual",
        "node.session.initial_login_retry_max": "1",
        "node.session.timeo.replacement_timeout": "-1",
        "node.conn[0].address": device.portal.host,
        "node.conn[0].port": str(device.portal.port),
        "node.conn[0].timeo.logout_timeout": "5",
    }
    if device.chap_user:
        values["node.session.auth.authmethod"] = "CHAP"
        values["node.session.auth.username"] = device.chap_user
        values["node.session.auth.password"] = device.chap_password
    return _render({**values, **_interface(device, interface)})


def _interface(device: IscsiDevice, interface: str) -> dict[str, str]:
    initiator = device.initiator or own_initiator(node())
    return {
        "iface.iscsi_ifacename": interface,
        "iface.transport_name": "tcp",
        "iface.initiatorname": initiator,
    }


def _render(values: dict[str, str]) -> str:
    lines = [f"{key} = {value}" for key, value in values.items()]
    return "\n".join(("# BEGIN RECORD 2.0-872", *lines, "# END RECORD", ""))


class OpenIscsi:
    """Of one volume."""

    def __init__(self, run: Path, place: Path, interface: str) -> None:
        self._iscsid = MountProgram(run / "iscsid")
        self._files = place / "files"
        self._interface = interface

    @property
    def session(self) -> Path | None:
        """Of sysfs; None where there is none."""
        for found in _SESSIONS.iterdir() if _SESSIONS.exists() else ():
            with suppress(OSError):  # it went while we looked
                if (found / "ifacename").read_text().strip() == self._interface:
                    return found
        return None

    def login(self, subject: str, device: IscsiDevice) -> None:
        self.require_iscsid(subject)
        nodes = self._files / "nodes"
        rmtree(nodes, ignore_errors=True)
        record = nodes / device.target / f"{device.portal.host},{device.portal.port}"
        for folder in (self._files, nodes, record.parent, self._files / "ifaces"):
            folder.mkdir(parents=True, mode=0o700, exist_ok=True)
        _write(self._files / "ifaces" / self._interface, _render(_interface(device, self._interface)))
        _write(self._files / "iscsid.conf", "node.startup = manual\n")
        _write(self._files / "initiatorname.iscsi", f"InitiatorName={own_initiator(node())}\n")
        try:
            _write(record, render_node(device, self._interface))
            arguments = ("-m", "node", "-T", device.target, "-p", str(device.portal), "--login")
            code, said = self._ask(LOGIN_SECONDS, *arguments)
        except TimeoutError as error:
            raise Unavailable(subject, f"{device}: {error.strerror}", _CHECK) from error
        finally:
            rmtree(nodes, ignore_errors=True)
        if code == _REFUSED:
            raise HostFailure(subject, f"{device}: {said}", _CHECK_ACCESS)
        if code:  # storage that starts takes connections before it shows all that it has
            raise Unavailable(subject, f"{device}: {said}", _CHECK_ACCESS if code == _NOT_SHOWN else _CHECK)

    def logout(self, subject: str) -> None:
        """Gone already is success. Raises HostFailure where it stays."""
        session = self.session
        if session is None:
            return
        self.require_iscsid(subject)
        said, number = "it takes too long", session.name.removeprefix("session")
        deadline = time.monotonic() + LOGOUT_SECONDS
        while self.session is not None:
            if time.monotonic() > deadline:
                raise HostFailure(subject, f"the kernel's session with its target does not end: {said}")
            with suppress(TimeoutError):
                code, said = self._ask(LOGOUT_SECONDS, "-m", "session", "-r", number, "-u")
                if code:  # an iscsid that has just begun may not know of it yet
                    time.sleep(_AGAIN_SECONDS)

    def _ask(self, seconds: float, *arguments: str) -> tuple[int, str]:
        iscsiadm = find_system_program("iscsiadm")
        if iscsiadm is None:
            raise Unsupported("the program iscsiadm", "it is not installed", f"Install {_PACKAGE}")
        done = run_within(seconds, privately(_ETC, str(self._files), (iscsiadm, *arguments)))
        return done.returncode, said_by(done.stderr.decode(errors="replace")) if done.returncode else ""

    def require_iscsid(self, subject: str) -> None:
        """The host's own where it runs one, else ours, which goes on without us."""
        if is_listening():
            return
        program = find_system_program("iscsid")
        if program is None:
            raise Unsupported("the program iscsid", "it is not installed", f"Install {_PACKAGE}")
        files = {"iscsid.conf": "node.startup = manual\n", "initiatorname": f"InitiatorName={own_initiator(node())}\n"}
        self._iscsid.place.parent.mkdir(parents=True, mode=0o700, exist_ok=True)
        lock = os.open(self._iscsid.place.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # among volumes that are attached at once
            if not is_listening():
                command = Command((program, "-f", "-c", "iscsid.conf", "-i", "initiatorname"), files)
                self._iscsid.start(subject, command, is_listening, _START_SECONDS)
        finally:
            os.close(lock)

    def tend(self, subject: str) -> None:
        """As `require_iscsid`, and waits for nobody: a thread sees to it, where none is at it already."""
        if not is_listening() and _TENDING.acquire(blocking=False):
            threading.Thread(target=self._tend, args=(subject,), name="iscsid", daemon=True).start()

    def _tend(self, subject: str) -> None:
        try:
            self.require_iscsid(subject)
        except (OrlopError, OSError) as error:
            log.warning("%s: a connection that was cut does not come back without an iscsid: %s", subject, error)
        finally:
            _TENDING.release()


def is_listening() -> bool:
    """Whether any iscsid does."""
    with socket.socket(socket.AF_UNIX) as link, suppress(OSError):
        link.connect(_CONTROL)
        return True
    return False


def host_of(session: Path) -> str:
    """The name of the SCSI host that the session is one of: "host3"."""
    found = re.search(r"/(host[0-9]+)/", str((session / "device").resolve()))
    if found is None:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(session))
    return found[1]


def encoded_lun(lun: int) -> int:
    """As the kernel writes it: flat space addressing from 256 on (SAM-4)."""
    return lun if lun < 256 else lun | 0x4000


def disk_of(session: Path | None, lun: int) -> str:
    """The name of the block device, "sda"; "" where there is none."""
    if session is None:
        return ""
    found = list((session / "device").glob(f"target*/*:{encoded_lun(lun)}/block/*"))
    return found[0].name if found else ""


def wait_for_disk(session: Path, lun: int, seconds: float) -> str:
    """It is made a moment after the unit was found."""
    deadline = time.monotonic() + seconds
    while not (disk := disk_of(session, lun)) and time.monotonic() < deadline:
        time.sleep(_LOOK_SECONDS)
    return disk


def said_by(text: str) -> str:
    """Of what iscsiadm said, what says most."""
    if found := _REASON.search(text):
        return found[1]
    lines = [line.removeprefix("iscsiadm: ").strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else "iscsiadm failed and said nothing"


def _write(path: Path, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "w") as file:
        file.write(text)


_CHECK = "Check the address, and that the storage runs and can be reached from here"
_CHECK_ACCESS = "Check target, lun, chap-user and chap-password, and what the storage allows this host"
