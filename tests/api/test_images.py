"""Images: import, load of what other tools wrote, save, tag, remove; what is hostile or broken is refused."""

import gzip
import hashlib
import io
import json
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from support.daemon import LiveDaemon, run_command
from support.images import PASSWD

Content = dict[str, bytes | tarfile.TarInfo]


def tar_of(content: Content) -> bytes:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        for name, value in content.items():
            if isinstance(value, tarfile.TarInfo):
                tar.addfile(value)
            else:
                entry = tarfile.TarInfo(name)
                entry.size = len(value)
                tar.addfile(entry, io.BytesIO(value))
    return archive.getvalue()


def special(name: str, kind: bytes, link: str = "", **more: int) -> tarfile.TarInfo:
    entry = tarfile.TarInfo(name)
    entry.type, entry.linkname = kind, link
    for key, value in more.items():
        setattr(entry, key, value)
    return entry


def docker_archive(*layers: bytes, tag: str = "made:1", diff_ids: list[str] | None = None) -> bytes:
    """An image archive as `docker save` writes it."""
    ids = diff_ids or [f"sha256:{hashlib.sha256(layer).hexdigest()}" for layer in layers]
    config = {
        "architecture": "amd64",
        "os": "linux",
        "config": {"Cmd": ["/bin/sh"]},
        "rootfs": {"type": "layers", "diff_ids": ids},
    }
    blob = json.dumps(config).encode()
    name = f"{hashlib.sha256(blob).hexdigest()}.json"
    paths = [f"{number}/layer.tar" for number in range(len(layers))]
    manifest = json.dumps([{"Config": name, "RepoTags": [tag], "Layers": paths}]).encode()
    return tar_of({name: blob, **dict(zip(paths, layers, strict=True)), "manifest.json": manifest})


@pytest.fixture
def traces(daemon: LiveDaemon) -> Iterator[Callable[[], tuple[object, ...]]]:
    """What of images is there: listed ones, layers, recipes and uploads on disk."""

    def look() -> tuple[object, ...]:
        own = daemon.data_root / "orlop"
        files = sorted(str(path) for folder in ("recipes", "incoming") for path in (own / folder).rglob("*"))
        return daemon.docker("images", "-aq").stdout, daemon.layer_folders(), files

    yield look


@pytest.fixture
def busybox_layer(busybox_tar: Path) -> bytes:
    return busybox_tar.read_bytes()


def test_import_list_inspect_history_tag_remove(docker_clients: LiveDaemon, busybox_tar: Path) -> None:
    docker = docker_clients.docker
    arguments = ["-m", "from a tar", "-c", "ENV A=1", "-c", 'CMD ["sh"]', "-c", "LABEL x=y", "-c", "EXPOSE 80/tcp"]
    image_id = docker("import", *arguments, busybox_tar, "made:1").stdout.strip()
    assert image_id.startswith("sha256:")
    image = docker_clients.inspect("image", "made:1")
    assert (image["Id"], image["RepoTags"], image["Os"], image["Comment"]) == (
        image_id,
        ["made:1"],
        "linux",
        "from a tar",
    )
    assert image["Config"]["Labels"] == {"x": "y"}
    assert "A=1" in image["Config"]["Env"]
    assert "80/tcp" in image["Config"]["ExposedPorts"]
    assert image["Size"] > 500_000
    assert "from a tar" in docker("history", "made:1").stdout
    docker("tag", "made:1", "other/name:2")
    listed = docker("images", "--format", "{{.Repository}}:{{.Tag}}").stdout.split()
    assert {"made:1", "other/name:2"} <= set(listed)
    assert docker("images", "-q", "--no-trunc", "made").stdout.strip() == image_id
    assert "Untagged: made:1" in docker("rmi", "made:1").stdout
    assert f"Deleted: {image_id}" in docker("rmi", "other/name:2").stdout
    assert "No such image: made:1" in docker("image", "inspect", "made:1", code=1).stderr


def test_import_from_a_pipe_and_packed(daemon: LiveDaemon, busybox_layer: bytes) -> None:
    daemon.docker("import", "-", "packed:1", stdin=gzip.compress(busybox_layer, 1))
    assert daemon.docker("run", "--rm", "packed:1", "echo", "works").stdout == "works\n"
    daemon.docker("rmi", "packed:1")


def test_an_image_in_use_is_refused(daemon: LiveDaemon, busybox_tar: Path) -> None:
    daemon.docker("import", busybox_tar, "used:1")
    container = daemon.docker("create", "used:1", "true").stdout.strip()
    refused = daemon.docker("rmi", "used:1", code=1).stderr
    assert "conflict" in refused
    assert container[:12] in refused
    daemon.docker("rm", container)
    daemon.docker("rmi", "used:1")


def test_save_and_load_give_the_same_image(docker_clients: LiveDaemon, tmp_path: Path) -> None:
    docker = docker_clients.docker
    docker("run", "--name", "app", "busybox", "sh", "-c", "echo x > /x; chown 1000 /x; rm /etc/group; mkdir -m 1700 /d")
    image_id = docker("commit", "app", "saved:1").stdout.strip()
    docker("rm", "app")
    docker("save", "-o", tmp_path / "out.tar", "saved:1")
    docker("rmi", "saved:1")
    assert "Loaded image: saved:1" in docker("load", "-i", tmp_path / "out.tar").stdout
    assert docker_clients.inspect("image", "saved:1")["Id"] == image_id
    assert docker("run", "--rm", "saved:1", "sh", "-c", "stat -c %u /x; stat -c %a /d").stdout == "1000\n1700\n"
    docker("run", "--rm", "saved:1", "ls", "/etc/group", code=1)
    docker("rmi", "saved:1")


@pytest.mark.parametrize("packer", [None, "gzip", "zstd", "xz", "bzip2"])
def test_load_of_packed_archives(daemon: LiveDaemon, busybox_layer: bytes, packer: str | None) -> None:
    archive = docker_archive(busybox_layer)
    if packer:
        archive = subprocess.run([packer, "-c", "-1"], input=archive, capture_output=True, check=True).stdout
    daemon.docker("load", stdin=archive)
    assert daemon.docker("run", "--rm", "made:1", "echo", "works").stdout == "works\n"
    daemon.docker("rmi", "made:1")


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("docker-archive", []),
        ("oci-archive", []),
        ("oci-archive", ["--dest-compress-format", "zstd", "--dest-compress"]),
    ],
)
def test_load_of_what_skopeo_wrote(
    daemon: LiveDaemon, busybox_layer: bytes, tmp_path: Path, kind: str, options: list[str]
) -> None:
    (tmp_path / "in.tar").write_bytes(docker_archive(busybox_layer, tag="docker.io/library/other:1"))
    suffix = ":docker.io/library/copied:1" if kind == "docker-archive" else ":copied:1"
    copy = ["skopeo", "--insecure-policy", "copy", "--quiet", *options, f"docker-archive:{tmp_path}/in.tar"]
    run_command([*copy, f"{kind}:{tmp_path}/out.tar{suffix}"])
    said = daemon.docker("load", "-i", tmp_path / "out.tar").stdout
    reference = said.partition(": ")[2].strip()
    assert daemon.docker("run", "--rm", reference, "echo", "works").stdout == "works\n"
    daemon.docker("rmi", reference)


def test_load_of_what_buildah_wrote(daemon: LiveDaemon, busybox_layer: bytes, tmp_path: Path) -> None:
    (tmp_path / "root.tar").write_bytes(busybox_layer)
    store = ["buildah", "--root", str(tmp_path / "root"), "--runroot", str(tmp_path / "run"), "--storage-driver", "vfs"]
    name = run_command([*store, "from", "scratch"]).stdout.strip()
    run_command([*store, "add", name, tmp_path / "root.tar", "/"])
    run_command([*store, "config", "--cmd", '["echo","from buildah"]', "--env", "A=1", "--volume", "/data", name])
    run_command([*store, "commit", "--quiet", name, f"oci-archive:{tmp_path}/out.tar:built:1"])
    run_command([*store, "rm", name])
    said = daemon.docker("load", "-i", tmp_path / "out.tar").stdout
    assert daemon.docker("run", "--rm", said.partition(": ")[2].strip()).stdout == "from buildah\n"
    daemon.docker("rmi", "-f", said.partition(": ")[2].strip())


def test_a_layer_of_two_images_exists_once(daemon: LiveDaemon, busybox_layer: bytes) -> None:
    daemon.docker("load", stdin=docker_archive(busybox_layer, tar_of({"one": b"1"}), tag="one:1"))
    between = daemon.layer_folders()
    daemon.docker("load", stdin=docker_archive(busybox_layer, tar_of({"two": b"2"}), tag="two:1"))
    assert len(daemon.layer_folders() - between) == 1
    daemon.docker("rmi", "one:1")
    assert daemon.docker("run", "--rm", "two:1", "cat", "/two").stdout == "2"
    daemon.docker("rmi", "two:1")


def test_whiteouts_and_opaque_folders(daemon: LiveDaemon, busybox_layer: bytes) -> None:
    middle = tar_of({"d/old": b"", "keep": b"", "gone": b""})
    top = tar_of({"d/.wh..wh..opq": b"", "d/new": b"", ".wh.gone": b""})
    daemon.docker("load", stdin=docker_archive(busybox_layer, middle, top))
    assert (
        daemon.docker("run", "--rm", "made:1", "sh", "-c", "ls /d; ls /keep; ls /gone", code=1).stdout == "new\n/keep\n"
    )
    daemon.docker("rmi", "made:1")


def test_125_layers(daemon: LiveDaemon, busybox_layer: bytes) -> None:
    more = [tar_of({f"file{number}": str(number).encode()}) for number in range(124)]
    daemon.docker("load", stdin=docker_archive(busybox_layer, *more))
    assert daemon.docker("run", "--rm", "made:1", "cat", "/file0", "/file123").stdout == "0123"
    daemon.docker("rmi", "made:1")


def test_special_files_come_through(daemon: LiveDaemon, busybox_layer: bytes) -> None:
    content: Content = {
        "dev/mine": special("dev/mine", tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666),
        "pipe": special("pipe", tarfile.FIFOTYPE, mode=0o600, uid=1000, gid=26),
        "file": b"content",
        "hard": special("hard", tarfile.LNKTYPE, "file"),
        "set": special("set", tarfile.REGTYPE, mode=0o6755, uid=1000),
    }
    daemon.docker("load", stdin=docker_archive(busybox_layer, tar_of(content)))
    script = (
        "stat -c '%F %t %T' /dev/mine 2>/dev/null; stat -c '%F %u %g' /pipe; stat -c '%h' /hard; stat -c '%a %u' /set"
    )
    said = daemon.docker("run", "--rm", "made:1", "sh", "-c", script).stdout.splitlines()
    assert said[-3:] == ["fifo 1000 26", "2", "6755 1000"]
    daemon.docker("rmi", "made:1")


EVIL: dict[str, Content] = {
    "a path that leaves": {"../../evil": b"x"},
    "a link that leads out, then a file through it": {
        "out": special("out", tarfile.SYMTYPE, "/tmp"),
        "out/orlop-evil": b"x",
    },
    "a hard link to what is outside": {"link": special("link", tarfile.LNKTYPE, "../../../../../../etc/passwd")},
    "a hard link by an absolute path": {"link": special("link", tarfile.LNKTYPE, "/etc/shadow")},
    "a whiteout of the folder above": {".wh...": b""},
    "a whiteout of itself": {".wh..": b""},
}


@pytest.mark.parametrize("content", EVIL.values(), ids=EVIL.keys())
def test_a_layer_that_reaches_out_does_not(
    daemon: LiveDaemon, busybox_layer: bytes, traces: Callable[[], object], content: Content
) -> None:
    """Refused and nothing of it stays; or, where links lead within the image's own root, kept inside it."""
    before = traces()
    done = daemon.docker("load", stdin=docker_archive(busybox_layer, tar_of(content)), code=None)
    assert not Path("/tmp/orlop-evil").exists()
    layers = daemon.data_root / "overlay2"
    assert all(path.is_relative_to(layers) for path in daemon.home.rglob("evil"))
    if done.returncode == 0:
        seen = daemon.docker("run", "--rm", "made:1", "sh", "-c", "cat /link 2>/dev/null", code=None).stdout
        assert seen in ("", PASSWD), "the image's own file at most"
        daemon.docker("rmi", "made:1")
    else:
        assert len(done.stderr.strip()) > 20
    assert traces() == before


def test_a_wrong_digest_is_refused_and_leaves_nothing(
    daemon: LiveDaemon, busybox_layer: bytes, traces: Callable[[], object]
) -> None:
    before = traces()
    wrong = "sha256:" + "0" * 64
    archive = docker_archive(busybox_layer, tar_of({"x": b""}), diff_ids=[wrong, wrong])
    said = daemon.docker("load", stdin=archive, code=None)
    assert "Loaded image" not in said.stdout
    assert "0000" in said.stderr + said.stdout
    assert traces() == before


@pytest.mark.parametrize("part", [0.3, 0.97])
def test_a_truncated_archive_is_refused_and_leaves_nothing(
    daemon: LiveDaemon, busybox_layer: bytes, traces: Callable[[], object], part: float
) -> None:
    before = traces()
    archive = docker_archive(tar_of({"x": b"x" * 3_000_000}), busybox_layer)
    said = daemon.docker("load", stdin=archive[: int(len(archive) * part)], code=None)
    assert said.returncode != 0
    assert said.stderr.strip()
    assert traces() == before


@pytest.mark.parametrize(
    "garbage", [b"", b"hello", b"\x1f\x8b\x08garbage", tar_of({"a": b"b"})], ids=["empty", "text", "gzip", "tar"]
)
def test_what_is_no_image_archive_is_refused(daemon: LiveDaemon, traces: Callable[[], object], garbage: bytes) -> None:
    before = traces()
    assert daemon.docker("load", stdin=garbage, code=None).stdout.find("Loaded") == -1
    assert traces() == before


def test_dangling_images_and_prune(daemon: LiveDaemon, busybox_tar: Path) -> None:
    first = daemon.docker("import", "-m", "one", busybox_tar, "made:1").stdout.strip()
    daemon.docker("import", "-m", "two", busybox_tar, "made:1")
    assert daemon.docker("images", "-q", "--no-trunc", "-f", "dangling=true").stdout.strip() == first
    assert first in daemon.docker("image", "prune", "-f").stdout
    assert daemon.docker("images", "-q", "-f", "dangling=true").stdout == ""
    daemon.docker("rmi", "made:1")


def test_prune_takes_an_age(docker_clients: LiveDaemon, busybox_tar: Path) -> None:
    docker_clients.docker("import", busybox_tar, "fresh")
    docker_clients.docker("image", "prune", "-af", "--filter", "until=24h")
    assert docker_clients.docker("images", "-q", "fresh").stdout, "it is younger than a day"
    docker_clients.docker("rmi", "fresh")
