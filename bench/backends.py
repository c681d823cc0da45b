"""Storage on loopback, a volume of Orlop's on it and the bare tool beside it: each `PAIRS` entry sets all that up and
gives the options of the volume and how the bare tool mounts the storage of either side.

`folder` is on the file system of Orlop's volumes, so that what either side keeps on this host is on the same one.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from bench import bare
from support import nas, redis, seaweed
from support.iscsi_target import NAME, IscsiTarget, NbdServer

SIDES = ("orlop", "bare")
READ_FILE = "read.bin"
DISK_BYTES = 1 << 30
KEY = "the key of the bench"


@dataclass(frozen=True)
class Bare:
    """A mount by the tool alone."""

    mount: Path
    below: Path = Path("/nonexistent")  # where it keeps what its mount shows


@dataclass(frozen=True)
class Pair:
    driver: str
    options: Mapping[str, str]  # of Orlop's volume, which has the storage of the side "orlop"
    bare: Callable[[str], AbstractContextManager[Bare]]  # the tool mounting the storage of a side
    caches: Callable[[Path], list[Path]] = field(default=lambda below: [])  # below a folder, what to forget
    clears: str = ""  # a pattern of files in there that are a cache, to be removed
    secrets: Mapping[str, str] = field(default_factory=dict)  # that the options name


Prepared = AbstractContextManager[Pair]
Prepare = Callable[[Path, Path], Prepared]


def _rclone(folder: Path, settings: Mapping[str, str], path: str) -> Callable[[str], AbstractContextManager[Bare]]:
    """`path` has "{}" where the side's name belongs."""

    @contextmanager
    def mounting(side: str) -> Iterator[Bare]:
        with bare.rclone(_made(folder / side), settings, path.format(side)) as mount:
            yield Bare(mount)

    return mounting


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@contextmanager
def cloud(folder: Path, content: Path) -> Iterator[Pair]:
    with seaweed.seaweed(folder / "seaweed") as storage:
        for side in SIDES:
            storage.make_bucket(f"bench-{side}")
            storage.rclone("copyto", str(content), f"sea:bench-{side}/{READ_FILE}")
        keys = {"access_key_id": seaweed.ACCESS_KEY, "secret_access_key": seaweed.SECRET_KEY}
        settings = {"type": "s3", "provider": "Other", "endpoint": storage.endpoint, "no_check_bucket": "true", **keys}
        options = {"type": "s3", "endpoint": storage.endpoint, "bucket": "bench-orlop"}
        options |= {"access-key": seaweed.ACCESS_KEY, "secret-key": seaweed.SECRET_KEY}
        yield Pair("cloud", options, _rclone(folder, settings, "bench-{}"))


@contextmanager
def nas_smb(folder: Path, content: Path) -> Iterator[Pair]:
    with nas.samba(folder / "nas") as storage:
        both_have(storage.data, content)
        settings = {"type": "smb", "host": "127.0.0.1", "port": storage.options["port"], "user": nas.USER}
        settings["pass"] = bare.obscured(nas.PASSWORD)
        options = {**storage.options, "password": nas.PASSWORD, "path": "orlop"}
        yield Pair("nas", options, _rclone(folder, settings, "team/{}"))


@contextmanager
def nas_sftp(folder: Path, content: Path) -> Iterator[Pair]:
    with nas.sftp(folder / "nas") as storage:
        both_have(storage.data, content)
        given = storage.options
        (folder / "known").write_text(f"[127.0.0.1]:{given['port']} {given['host-key']}\n")
        settings = {"type": "sftp", "host": "127.0.0.1", "port": given["port"], "user": nas.USER}
        settings |= {"key_pem": storage.secrets["nas"].replace("\n", "\\n"), "known_hosts_file": str(folder / "known")}
        settings |= {"shell_type": "none", "md5sum_command": "none", "sha1sum_command": "none"}
        options = {**given, "key": storage.secrets["nas"], "path": f"{storage.data}/orlop"}
        yield Pair("nas", options, _rclone(folder, settings, f"{storage.data}/{{}}"))


@contextmanager
def nas_webdav(folder: Path, content: Path) -> Iterator[Pair]:
    with nas.webdav(folder / "nas") as storage:
        both_have(storage.data, content)
        settings = {"type": "webdav", "url": storage.options["url"], "user": nas.USER, "vendor": "other"}
        settings["pass"] = bare.obscured(nas.PASSWORD)
        options = {**storage.options, "password": nas.PASSWORD, "path": "orlop"}
        yield Pair("nas", options, _rclone(folder, settings, "{}"))


def both_have(data: Path, content: Path) -> None:
    for side in SIDES:
        (data / side).mkdir()
        (data / side / READ_FILE).write_bytes(content.read_bytes())


@contextmanager
def juicefs(folder: Path, content: Path, s3: bool) -> Iterator[Pair]:
    with ExitStack() as servers:
        meta = servers.enter_context(redis.redis(folder / "redis"))
        urls = {side: meta.url(number) for number, side in enumerate(SIDES, 1)}
        options = {"meta": urls["orlop"], "meta-password": redis.PASSWORD, "name": "bench"}
        keys = {}
        if s3:
            objects = servers.enter_context(seaweed.seaweed(folder / "seaweed"))
            buckets = {side: f"{objects.endpoint}/bench-{side}" for side in SIDES}
            for side in SIDES:
                objects.make_bucket(f"bench-{side}")
            keys = {"access-key": seaweed.ACCESS_KEY, "secret-key": seaweed.SECRET_KEY}
        else:
            buckets = {side: f"{_made(folder / 'data' / side)}/" for side in SIDES}
        storage = "s3" if s3 else "file"

        @contextmanager
        def mounting(side: str) -> Iterator[Bare]:
            words = ["--storage", storage, "--bucket", buckets[side]]
            words += [word for key, value in keys.items() for word in (f"--{key}", value)]
            own = _made(folder / side)
            with bare.juicefs(own, urls[side], redis.PASSWORD, words) as mount:
                yield Bare(mount, own / "cache")

        options |= {"storage": storage, "bucket": buckets["orlop"].rstrip("/"), **keys}
        yield Pair("juicefs", options, mounting, clears="**/raw/chunks/**/*_*")


@contextmanager
def encrypted(folder: Path, content: Path) -> Iterator[Pair]:
    @contextmanager
    def mounting(side: str) -> Iterator[Bare]:
        own = _made(folder / side)
        with bare.gocryptfs(own, KEY) as mount:
            yield Bare(mount, own / "cipher")

    yield Pair("encrypted", {"key": "secret://bench"}, mounting, large_files, secrets={"bench": KEY})


def large_files(below: Path) -> list[Path]:
    return [path for path in below.rglob("*") if path.is_file() and path.stat().st_size > 1 << 20]


def _block_device(
    folder: Path, nodes: Mapping[str, Mapping[str, object]]
) -> Callable[[str], AbstractContextManager[Bare]]:
    @contextmanager
    def mounting(side: str) -> Iterator[Bare]:
        own = _made(folder / side)
        with bare.block_device(own, nodes[side]) as mount:
            yield Bare(mount, own / "disk.img")

    return mounting


@contextmanager
def san_iscsi(folder: Path, content: Path) -> Iterator[Pair]:
    folder.mkdir(exist_ok=True)
    target = IscsiTarget(folder)
    try:
        nodes: dict[str, Mapping[str, object]] = {}
        for lun, side in enumerate(SIDES, 1):
            target.lun(lun, DISK_BYTES)
            nodes[side] = {"driver": "iscsi", "transport": "tcp", "target": NAME, "lun": lun}
        target.start()
        more = {"portal": target.portal, "initiator-name": "iqn.2026-11.test:bare"}
        bare_mount = _block_device(folder, {side: {**node, **more} for side, node in nodes.items()})
        yield Pair("san", target.options(1), bare_mount, lambda below: [below])
    finally:
        target.close()


@contextmanager
def san_nbd(folder: Path, content: Path) -> Iterator[Pair]:
    folder.mkdir(exist_ok=True)
    servers = {side: NbdServer(folder, DISK_BYTES) for side in SIDES}
    try:
        nodes: dict[str, Mapping[str, object]] = {}
        for side, server in servers.items():
            server.start()
            where = {"type": "inet", "host": "127.0.0.1", "port": str(server.port)}
            nodes[side] = {"driver": "nbd", "server": where, "export": "disk", "reconnect-delay": 86400}
        yield Pair("san", servers["orlop"].options(), _block_device(folder, nodes), lambda below: [below])
    finally:
        for server in servers.values():
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
