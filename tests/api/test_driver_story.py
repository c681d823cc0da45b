"""Storage elsewhere, as somebody types it who tries it for the first time: the lines are what people copy, and only the
ports of the servers are those that are free here."""

import shlex
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support import nas
from support.daemon import LiveDaemon
from support.iscsi_target import iscsi_target, needs_san
from support.redis import redis
from support.seaweed import ACCESS_KEY, SECRET_KEY, program, seaweed


def typed(daemon: LiveDaemon, line: str) -> str:
    """What a line says at the prompt."""
    command, *words = shlex.split(line)
    done = {"docker": daemon.docker, "orlop": daemon.orlop}[command](*words)
    return done.stdout


def test_a_bucket(daemon: LiveDaemon, tmp_path: Path) -> None:
    with seaweed(tmp_path / "weed") as storage:
        storage.make_bucket("photos")
        (tmp_path / "id.txt").write_text(f"{ACCESS_KEY}\n")
        (tmp_path / "key.txt").write_text(f"{SECRET_KEY}\n")
        typed(daemon, f"orlop secret create s3id {tmp_path}/id.txt")
        typed(daemon, f"orlop secret create s3key {tmp_path}/key.txt")
        typed(
            daemon,
            "docker volume create -d cloud -o type=s3 -o endpoint=http://127.0.0.1:8333 -o bucket=photos "
            "-o access-key=secret://s3id -o secret-key=secret://s3key photos".replace(
                "http://127.0.0.1:8333", storage.endpoint
            ),
        )
        typed(daemon, "docker run --rm -v photos:/p busybox sh -c 'echo hi > /p/a'")
        assert storage.read("photos/a") == "hi\n", "it returns when a is in the bucket"
        assert typed(daemon, "docker run --rm -v photos:/p busybox cat /p/a") == "hi\n"
        typed(daemon, "docker volume rm photos")


@needs_san
def test_a_disk_of_a_san(daemon: LiveDaemon, tmp_path: Path) -> None:
    with iscsi_target(tmp_path, 1) as target:
        typed(
            daemon,
            "docker volume create -d san -o portal=127.0.0.1:3260 -o target=iqn.2026-11.test:disk1 -o lun=1 db".replace(
                "127.0.0.1:3260", target.portal
            ),
        )
        typed(daemon, "docker run --rm -v db:/d busybox sh -c 'echo hi > /d/a'")
        with mounted(target.luns[1], tmp_path / "seen") as seen:
            assert (seen / "a").read_text() == "hi\n"
        assert typed(daemon, "docker run --rm -v db:/d busybox cat /d/a") == "hi\n"
        typed(daemon, "docker volume rm db")


@contextmanager
def mounted(device: Path, place: Path) -> Iterator[Path]:
    place.mkdir()
    subprocess.run(["mount", "-o", "loop,ro,noload", device, place], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", place], check=True)


def test_a_share_that_is_open_to_all(daemon: LiveDaemon, tmp_path: Path) -> None:
    with nas.samba(tmp_path, guests=True) as server:
        typed(
            daemon,
            "docker volume create -d nas -o protocol=smb -o host=127.0.0.1 -o share=team team".replace(
                "127.0.0.1", f"127.0.0.1 -o port={server.options['port']}"
            ),
        )
        (server.data / "from-there").write_text("there\n")
        assert typed(daemon, "docker run --rm -v team:/t busybox cat /t/from-there") == "there\n"
        typed(daemon, "docker run --rm -v team:/t busybox sh -c 'echo hi > /t/a'")
        assert (server.data / "a").read_text() == "hi\n"
        typed(daemon, "docker volume rm team")


def test_a_tree_that_another_host_made(daemon: LiveDaemon, tmp_path: Path) -> None:
    with redis(tmp_path / "redis", password="") as names:
        made = ["format", "--storage", "file", "--bucket", f"{tmp_path}/far/", names.url(1), "tree"]
        subprocess.run([program("juicefs"), "--no-agent", *made], check=True, capture_output=True)
        line = "docker volume create -d juicefs -o meta=redis://127.0.0.1:6379/1 -o name=tree tree"
        typed(daemon, line.replace("6379", str(names.port)))
        typed(daemon, line.replace("6379", str(names.port)).removesuffix("tree") + "same")
        typed(daemon, "docker run -d --name one -v tree:/t busybox sleep 1000")
        typed(daemon, "docker run --rm -v same:/t busybox sh -c 'echo hi > /t/a'")
        assert typed(daemon, "docker exec one cat /t/a") == "hi\n"
        typed(daemon, "docker rm -f one")
        typed(daemon, "docker volume rm tree same")
