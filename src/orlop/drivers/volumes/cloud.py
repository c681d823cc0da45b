"""Object storage and what else rclone speaks, as volumes.

    docker volume create -d cloud -o type=s3 -o endpoint=http://... -o bucket=photos \
        -o access-key=secret://id -o secret-key=secret://key photos

For S3 the options have names of their own; every other storage is reached with rclone's own: `type` is the name of one
of its backends and `rclone.KEY` any setting of it (rclone.org documents them).
"""

from dataclasses import replace
from pathlib import Path

from orlop.drivers.volumes.abilities import Health, Pending
from orlop.drivers.volumes.mount_program import Command, MountProgram
from orlop.drivers.volumes.rclone import (
    ask_storage,
    is_rclone,
    mount_command,
    pending,
    unsent,
    wait_for_uploads,
)
from orlop.drivers.volumes.rclone_remote import Remote
from orlop.drivers.volumes.remote_options import COMMON, Options, check_common, check_known, require, switch
from orlop.drivers.volumes.served_backend import Served
from orlop.drivers.volumes.storage_mark import IF_EMPTY
from orlop.errors import Malformed
from orlop.kernel.mounts import MountEntry

_S3 = {
    "endpoint": "endpoint",
    "access-key": "access_key_id",
    "secret-key": "secret_access_key",
    "session-token": "session_token",
    "region": "region",
    "provider": "provider",
}
_PREFIX = "rclone."
UPLOAD_WAIT_SECONDS = 60.0


class CloudBackend:
    name = "cloud"
    scope = "global"
    shown = ("type", "bucket", "path", *COMMON)

    def check(self, subject: str, options: Options) -> None:
        check_known(subject, options, {"type", "bucket", "path", *_S3, *COMMON}, _PREFIX)
        require(subject, options, "type")
        kind = options["type"]
        if not kind.replace("-", "").replace("_", "").isalnum():
            raise Malformed(subject, f"type is {kind!r}, and has to be the name of a storage, for example s3")
        if kind == "s3":
            require(subject, options, "bucket", "access-key", "secret-key")
        elif foreign := sorted(set(options) & set(_S3)):
            why = f'option "{foreign[0]}" belongs to type=s3'
            raise Malformed(subject, why, f"For {kind} write rclone's own settings: -o rclone.KEY=VALUE")
        if "/" in options.get("bucket", ""):
            raise Malformed(subject, "bucket has a slash in it", "What is within the bucket goes into path=")
        if ".." in options.get("path", "").split("/"):
            raise Malformed(subject, "path leads upwards")
        check_common(subject, options)

    def command(self, served: Served) -> Command:
        return mount_command(served, remote_of(served.options))

    def ask(self, place: Path, identity: Path) -> Health:
        return ask_storage(place, identity)

    def is_own(self, entry: MountEntry) -> bool:
        return is_rclone(entry)

    def before_unmount(self, served: Served, program: MountProgram) -> None:
        wait_for_uploads(served, program, remote_of(served.options).upload_wait_seconds)

    def pending(self, place: Path, cache: Path) -> Pending | None:
        return pending(place, cache) if place.exists() else unsent(cache)


def remote_of(options: Options) -> Remote:
    kind = options["type"]
    settings = {key.removeprefix(_PREFIX): value for key, value in options.items() if key.startswith(_PREFIX)}
    if kind == "s3":
        settings |= {rclone: options[ours] for ours, rclone in _S3.items() if options.get(ours)}
        settings.setdefault("provider", "Other" if options.get("endpoint") else "AWS")
        settings.setdefault("no_check_bucket", "true")  # else a bucket that vanished would be made anew, empty
    return with_common(Remote(kind, settings, _path(options)), options)


def _path(options: Options) -> str:
    return "/".join(filter(None, (options.get("bucket", ""), options.get("path", "").strip("/"))))


def with_common(remote: Remote, options: Options) -> Remote:
    """Options that hold for all that rclone mounts; checked before."""
    return replace(
        remote,
        cache_mode=options.get("cache-mode") or "writes",
        cache_size=options.get("cache-size", ""),
        read_only=switch("", options, "read-only"),
        uid=options.get("uid", ""),
        gid=options.get("gid", ""),
        umask=options.get("umask", ""),
        upload_wait_seconds=float(options.get("upload-wait") or UPLOAD_WAIT_SECONDS),
        mark=options.get("mark") or IF_EMPTY,
    )
