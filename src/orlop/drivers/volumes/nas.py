"""NAS by protocol, where the kernel has no client or none is wanted: SMB, SFTP, WebDAV, by rclone.

    docker volume create -d nas -o protocol=smb -o host=nas -o share=team -o user=me -o password=secret://nas team

The kernel's own clients are the local driver's: type=nfs, type=cifs.
"""

from pathlib import Path

from orlop.drivers.volumes.abilities import Health, Pending
from orlop.drivers.volumes.cloud import UPLOAD_WAIT_SECONDS, with_common
from orlop.drivers.volumes.mount_program import Command, MountProgram
from orlop.drivers.volumes.rclone import (
    ask_storage,
    is_rclone,
    mount_command,
    obscured,
    pending,
    unsent,
    wait_for_uploads,
)
from orlop.drivers.volumes.rclone_remote import Remote
from orlop.drivers.volumes.remote_options import COMMON, Options, check_common, check_known, choose, require
from orlop.drivers.volumes.served_backend import Served
from orlop.errors import Malformed
from orlop.kernel.mounts import MountEntry

_PROTOCOLS = {
    "smb": ("host", "share"),
    "sftp": ("host",),
    "webdav": ("url",),
}
_OWN = {
    "smb": {"host", "port", "user", "password", "domain", "share", "path"},
    "sftp": {"host", "port", "user", "password", "key", "host-key", "path"},
    "webdav": {"url", "user", "password", "bearer-token", "path"},
}


class NasBackend:
    name = "nas"
    scope = "global"
    shown = ("protocol", "share", "path", *COMMON)

    def check(self, subject: str, options: Options) -> None:
        require(subject, options, "protocol")
        protocol = choose(subject, options, "protocol", _PROTOCOLS, "")
        check_known(subject, options, {"protocol", *_OWN[protocol], *COMMON}, of_lines=("key",))
        require(subject, options, *_PROTOCOLS[protocol])
        if protocol == "sftp" and not (options.get("password") or options.get("key")):
            raise Malformed(subject, "sftp needs a password or a key", "Give one: -o key=secret://NAME")
        if protocol == "sftp" and not options.get("host-key"):
            # Without it, whoever answers under that address would be given the password and the data.
            hint = f"Ask the host's administrator, or: ssh-keyscan {options['host']} (type and key, without the name)"
            raise Malformed(subject, 'missing required option: "host-key"', hint)
        if (port := options.get("port")) and not port.isdecimal():
            raise Malformed(subject, f"port is {port!r}, and has to be a number")
        if "/" in options.get("share", "") or ".." in options.get("path", "").split("/"):
            raise Malformed(subject, "share has a slash in it, or path leads upwards")
        check_common(subject, options)

    def command(self, served: Served) -> Command:
        return mount_command(served, _remote(served.options))

    def ask(self, place: Path, identity: Path) -> Health:
        return ask_storage(place, identity)

    def is_own(self, entry: MountEntry) -> bool:
        return is_rclone(entry)

    def before_unmount(self, served: Served, program: MountProgram) -> None:
        wait_for_uploads(served, program, float(served.options.get("upload-wait") or UPLOAD_WAIT_SECONDS))

    def pending(self, place: Path, cache: Path) -> Pending | None:
        return pending(place, cache) if place.exists() else unsent(cache)


def _remote(options: Options) -> Remote:
    protocol = options["protocol"]
    files: dict[str, str] = {}
    settings = {key: options[key] for key in ("host", "port", "user", "domain", "url") if options.get(key)}
    if password := options.get("password"):
        settings["pass"] = obscured(password)
    match protocol:
        case "sftp":
            settings |= {"shell_type": "none", "md5sum_command": "none", "sha1sum_command": "none"}
            files["known_hosts_file"] = _known_host(options)
            if key := options.get("key"):
                settings["key_pem"] = key.replace("\n", "\\n")
        case "webdav":
            settings["vendor"] = "other"
            if token := options.get("bearer-token"):
                settings["bearer_token"] = token
    return with_common(Remote(protocol, settings, _path(options), files), options)


def _path(options: Options) -> str:
    path = options.get("path", "").strip("/")
    match options["protocol"]:
        case "smb":
            return "/".join(filter(None, (options["share"], path)))
        case "sftp":
            return options.get("path", "")
    return path


def _known_host(options: Options) -> str:
    host, port = options["host"], options.get("port", "22")
    return f"{host if port == '22' else f'[{host}]:{port}'} {options['host-key']}\n"
