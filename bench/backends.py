"""Storage on loopback, a volume of Orlop's on it and the bare tool beside it: each `PAIRS` entry sets all that up and
gives the options of the volume and the bare tool's mount.

`folder` is on the file system of Orlop's volumes, so that what either side keeps on this host is on the same one.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench import bare
from support import nas, redis, seaweed
from support.iscsi_target import NAME, IscsiTarget, NbdServer

READ_FILE = "read.bin"
DISK_BYTES = 1 << 30
KEY = "the key of the bench"


@dataclass(frozen=True)
class Pair:
    driver: str
    options: Mapping[str, str]  # of Orlop's volume
    mount: Path  # of the bare tool
    caches: Callable[[Path], list[Path]] = field(default=lambda below: [])  # below a folder, what to forget
    bare_below: Path = Path("/nonexistent")  # where the bare tool keeps what its mount shows
    clears: str = ""  # a pattern of files in there that are a cache, to be removed
    secrets: Mapping[str, str] = field(default_factory=dict)  # that the options name


Prepared = AbstractContextManager[Pair]
Prepare = Callable[[Path, Path], Prepared]


@contextmanager
def cloud(folder: Path, content: Path) -> Iterator[Pair]:
    with seaweed.seaweed(folder / "seaweed") as storage:
        for bucket in ("bench-orlop", "bench-bare"):
            storage.make_bucket(bucket)
            storage.rclone("copyto", str(content), f"sea:{bucket}/{READ_FILE}")
        keys = {"access_key_id": seaweed.ACCESS_KEY, "secret_access_key": seaweed.SECRET_KEY}
        settings = {"type": "s3", "provider": "Other", "endpoint": storage.endpoint, **keys}
        options = {"type": "s3", "endpoint": storage.endpoint, "bucket": "bench-orlop"}
        options |= {"access-key": seaweed.ACCESS_KEY, "secret-key": seaweed.SECRET_KEY}
        with bare.rclone(folder, settings, "bench-bare") as mount:
            yield Pair("cloud", options, mount)


@contextmanager
def nas_smb(folder: Path, content: Path) -> Iterator[Pair]:
    with nas.samba(folder / "nas") as storage:
        both_have(storage.data, content)
        settings = {"type": "smb", "host": "127.0.0.1", "port": storage.options["port"], "user": nas.USER}
        settings["pass"] = bare.obscured(nas.PASSWORD)
        with bare.rclone(folder, settings, "team/bare") as mount:
            yield Pair("nas", {**storage.options, "password": nas.PASSWORD, "path": "orlop"}, mount)


@contextmanager
def nas_sftp(folder: Path, content: Path) -> Iterator[Pair]:
    with nas.sftp(folder / "nas") as storage:
        both_have(storage.data, content)
        given = storage.options
        (folder / "known").write_text(f"[127.0.0.1]:{given['port']} {given['host-key']}\n")
        settings = {"type": "sftp", "host": "127.0.0.1", "port": given["port"], "user": nas.USER}
        settings |= {"key_pem": storage.secrets["nas"].replace("\n", "\\n"), "known_hosts_file": str(folder / "known")}
        settings |= {"shell_type": "none", "md5sum_command": "none", "sha1sum_command": "none"}
        with bare.rclone(folder, settings, f"{storage.data}/bare") as mount:
            options = {**given, "key": storage.secrets["nas"], "path": f"{storage.data}/orlop"}
            yield Pair("nas", options, mount)


@contextmanager
def nas_webdav(folder: Path, content: Path) -> Iterator[Pair]:
    with nas.webdav(folder / "nas") as storage:
        both_have(storage.data, content)
        settings = {"type": "webdav", "url": storage.options["url"], "user": nas.USER, "vendor": "other"}
        settings["pass"] = bare.obscured(nas.PASSWORD)
        with bare.rclone(folder, settings, "bare") as mount:
            yield Pair("nas", {**storage.options, "password": nas.PASSWORD, "path": "orlop"}, mount)


def both_have(data: Path, content: Path) -> None:
    for side in ("orlop", "bare"):
        (data / side).mkdir()
        (data / side / READ_FILE).write_bytes(content.read_bytes())


@contextmanager
def juicefs(folder: Path, content: Path, s3: bool) -> Iterator[Pair]:
    with redis.redis(folder / "redis") as meta:
        options = {"meta": meta.url(1), "meta-password": redis.PASSWORD, "name": "bench"}
        if not s3:
            for side in ("orlop", "bare"):
                (folder / "data" / side).mkdir(parents=True)
            storage = ("--storage", "file", "--bucket", f"{folder}/data/bare/")
            with bare.juicefs(folder, meta.url(2), redis.PASSWORD, storage) as mount:
                options |= {"storage": "file", "bucket": f"{folder}/data/orlop"}
                yield Pair("juicefs", options, mount, bare_below=folder / "cache", clears="**/raw/chunks/**/*_*")
            return
        with seaweed.seaweed(folder / "seaweed") as objects:
            for bucket in ("bench-orlop", "bench-bare"):
                objects.make_bucket(bucket)
            words = ["--storage", "s3", "--bucket", f"{objects.endpoint}/bench-bare"]
            words += ["--access-key", seaweed.ACCESS_KEY, "--secret-key", seaweed.SECRET_KEY]
            options |= {"storage": "s3", "bucket": f"{objects.endpoint}/bench-orlop"}
            options |= {"access-key": seaweed.ACCESS_KEY, "secret-key": seaweed.SECRET_KEY}
            with bare.juicefs(folder, meta.url(2), redis.PASSWORD, words) as mount:
                yield Pair("juicefs", options, mount, bare_below=folder / "cache", clears="**/raw/chunks/**/*_*")


@contextmanager
def encrypted(folder: Path, content: Path) -> Iterator[Pair]:
    with bare.gocryptfs(folder, KEY) as mount:
        options = {"key": "secret://bench"}
        yield Pair("encrypted", options, mount, large_files, folder / "cipher", secrets={"bench": KEY})


def large_files(below: Path) -> list[Path]:
    return [path for path in below.rglob("*") if path.is_file() and path.stat().st_size > 1 << 20]


@contextmanager
def san_iscsi(folder: Path, content: Path) -> Iterator[Pair]:
    folder.mkdir(exist_ok=True)
    target = IscsiTarget(folder)
    try:
        for lun in (1, 2):
            target.lun(lun, DISK_BYTES)
        target.start()
        node = {"driver": "iscsi", "transport": "tcp", "portal": target.portal, "target": NAME, "lun": 2}
        with bare.block_device(folder, {**node, "initiator-name": "iqn.2026-11.test:bare"}) as mount:
            yield Pair("san", target.options(1), mount, lambda below: [below], folder / "disk.img")
    finally:
        target.close()


@contextmanager
def san_nbd(folder: Path, content: Path) -> Iterator[Pair]:
    folder.mkdir(exist_ok=True)
    servers = [NbdServer(folder, DISK_BYTES) for _ in range(2)]
    try:
        for server in servers:
            server.start()
        where = {"type": "inet", "host": "127.0.0.1", "port": str(servers[1].port)}
        node = {"driver": "nbd", "server": where, "export": "disk", "reconnect-delay": 86400}
        with bare.block_device(folder, node) as mount:
            yield Pair("san", servers[0].options(), mount, lambda below: [below], folder / "disk.img")
    finally:
        for server in servers:
            server.stop()


PAIRS: dict[str, Prepare] = {
    "cloud (S3)": cloud,
    "nas (SMB)": nas_smb,
    "nas (SFTP)": nas_sftp,
    "nas (WebDAV)": nas_webdav,
    "juicefs (Redis, directory)": partial(juicefs, s3=False),
    "juicefs (Redis, S3)": partial(juicefs, s3=True),
    "encrypted (local)": encrypted,
    "san (iSCSI)": san_iscsi,
    "san (NBD)": san_nbd,
}
