"""Copies of volumes, archives of volumes and files in and out of them, by the `orlop` command and by hand."""

import base64
import io
import json
import os
import socket
import subprocess
import tarfile
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from orlop.testing.archives import file, make_tar
from support.daemon import LiveDaemon, wait_for
from support.leaks import find_leaks
from support.trees import describe, write_everything

BASE = "/orlop/v1/volumes"


def call(
    daemon: LiveDaemon, method: str, path: str, body: bytes = b"", content_type: str = "application/json"
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of an answer."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(daemon.socket))
        head = f"{method} {path} HTTP/1.0\r\nContent-Length: {len(body)}\r\nContent-Type: {content_type}\r\n\r\n"
        client.sendall(head.encode() + body)
        answer = b"".join(iter(lambda: client.recv(1 << 16), b""))
    start, _, rest = answer.partition(b"\r\n\r\n")
    status, *lines = start.decode("latin-1").split("\r\n")
    headers = {key.lower(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return int(status.split()[1]), headers, rest


def call_json(daemon: LiveDaemon, method: str, path: str, body: object = None) -> tuple[int, Any]:
    status, _, answer = call(daemon, method, path, json.dumps(body).encode() if body is not None else b"")
    return status, json.loads(answer) if answer else None


def write(daemon: LiveDaemon, script: str, volume: str = "data") -> None:
    daemon.docker("run", "--rm", "--network", "none", "-v", f"{volume}:/data", "busybox", "sh", "-c", script)


# Whole volumes


def test_a_volume_is_copied_with_its_labels(daemon: LiveDaemon) -> None:
    daemon.docker("volume", "create", "--label", "of=web", "data")
    write_everything(daemon.volume_data("data"))
    assert daemon.orlop("volume", "cp", "-l", "more=1", "data", "again").stdout == "again\n"
    assert describe(daemon.volume_data("again")) == describe(daemon.volume_data("data"))
    assert daemon.inspect("volume", "again")["Labels"] == {"of": "web", "more": "1"}
    write(daemon, "test -p /data/pipe && cat /data/dir/file && echo new > /data/new", "again")
    assert not (daemon.volume_data("data") / "new").exists()


def test_a_copy_tells_who_uses_its_source_and_the_result_as_json(daemon: LiveDaemon) -> None:
    daemon.docker("run", "-d", "--name", "web", "-v", "data:/data", "busybox", "sleep", "1000")
    daemon.docker("exec", "web", "sh", "-c", "echo kept > /data/note")
    done = daemon.orlop("volume", "cp", "data", "again")
    assert "web may have written to it meanwhile" in done.stderr
    result = json.loads(daemon.orlop("volume", "cp", "--format", "json", "data", "third").stdout)
    assert result["Users"] == ["web"] and result["Entries"] == 1 and result["Bytes"] == 5 and result["Missed"] == []
    assert result["Volume"]["Name"] == "third"
    assert (daemon.volume_data("third") / "note").read_text() == "kept\n"


def test_copies_that_cannot_be_say_why(daemon: LiveDaemon) -> None:
    daemon.docker("volume", "create", "data")
    daemon.docker("volume", "create", "again")
    refused = daemon.orlop("volume", "cp", "data", "again", code=1).stderr
    assert "a volume again exists already" in refused and "docker volume rm again" in refused
    assert "no such volume" in daemon.orlop("volume", "cp", "none", "new", code=1).stderr
    assert "no name" in call_json(daemon, "POST", f"{BASE}/data/copy", {})[1]["message"]
    assert call_json(daemon, "POST", f"{BASE}/data/copy", {"Name": "again"})[0] == 409
    assert call_json(daemon, "POST", f"{BASE}/data/copy?progress=1", {"Name": "again"})[0] == 409
    assert call_json(daemon, "POST", f"{BASE}/none/copy", {"Name": "new"})[0] == 404
    assert call_json(daemon, "POST", f"{BASE}/data/copy", {"Name": "new", "DriverOpts": {"nonsense": "1"}})[0] == 400


def test_copying_events_are_those_of_a_created_volume(daemon: LiveDaemon) -> None:
    daemon.docker("volume", "create", "data")
    status, answer = call_json(daemon, "POST", f"{BASE}/data/copy", {"Name": "watched"})
    assert status == 201 and answer["Volume"]["Name"] == "watched"
    terms = ("--since", "1h", "--until", "0s", "--filter", "volume=watched", "--format", "{{.Action}}")
    # "0s" is the beginning of this second: what has just happened shows up with the next one.
    assert wait_for("the events", lambda: daemon.docker("events", *terms).stdout.split()) == ["create"]


def test_a_client_that_leaves_ends_the_copy_and_nothing_is_left(daemon: LiveDaemon) -> None:
    daemon.docker("volume", "create", "data")
    for number in range(12_000):
        (daemon.volume_data("data") / f"file{number}").touch()
    body = json.dumps({"Name": "again"}).encode()
    head = f"POST {BASE}/data/copy?progress=1 HTTP/1.1\r\nHost: o\r\nContent-Length: {len(body)}\r\n"
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(daemon.socket))
        client.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        assert client.recv(12) == b"HTTP/1.1 200"
    staging = daemon.data_root / "volumes/.staging"
    wait_for("the copy to be thrown away", lambda: not list(staging.iterdir()))
    assert daemon.docker("volume", "ls", "-q").stdout.split() == ["data"]


def test_a_volume_goes_to_another_machine_and_back(daemon: LiveDaemon, tmp_path: Path) -> None:
    daemon.docker("volume", "create", "--label", "of=web", "data")
    write_everything(daemon.volume_data("data"))
    there = describe(daemon.volume_data("data"))
    for ending, magic in (("tar", b"pax_global"), ("tar.gz", b"\x1f\x8b"), ("tar.zst", b"\x28\xb5\x2f\xfd")):
        archive = tmp_path / f"data.{ending}"
        daemon.orlop("volume", "export", "-o", archive, "data")
        assert archive.read_bytes().startswith(magic)
        assert daemon.orlop("volume", "import", f"from-{ending}", archive).stdout == f"from-{ending}\n"
        assert describe(daemon.volume_data(f"from-{ending}")) == there
    daemon.docker("volume", "rm", "data")
    assert daemon.orlop("volume", "import", "-l", "more=1", archive).stdout == "data\n"
    assert describe(daemon.volume_data("data")) == there
    assert daemon.inspect("volume", "data")["Labels"] == {"of": "web", "more": "1"}


def test_an_import_from_standard_input(daemon: LiveDaemon) -> None:
    tar = make_tar(file("note", b"text"))
    assert daemon.orlop("volume", "import", "data", "-", stdin=tar).stdout == "data\n"
    assert daemon.orlop("volume", "import", "more", stdin=tar).stdout == "more\n"
    write(daemon, "grep -q text /data/note")
    assert "does not say the volume's name" in daemon.orlop("volume", "import", "-", stdin=tar, code=1).stderr
    refused = daemon.orlop("volume", "import", "data", "-", stdin=tar + bytes(20 << 20), code=1).stderr
    assert "exists already" in refused


@pytest.mark.parametrize("kept", [0, 511, 1024, 1536, 70_000])
def test_an_import_that_breaks_off_leaves_nothing(daemon: LiveDaemon, kept: int) -> None:
    tar = make_tar(file("note", b"text"), file("big", bytes(100_000)))
    refused = daemon.orlop("volume", "import", "data", "-", stdin=tar[:kept], code=1).stderr
    assert "cut off" in refused or "empty" in refused
    assert daemon.docker("volume", "ls", "-q").stdout == ""
    assert list((daemon.data_root / "volumes/.staging").iterdir()) == []


def test_a_client_that_leaves_ends_the_import_and_nothing_is_left(daemon: LiveDaemon) -> None:
    tar = make_tar(file("one", bytes(100_000)), file("two", bytes(5_000_000)))
    staging = daemon.data_root / "volumes/.staging"
    for sent in (len(tar) - 2_000_000, 102_400 + 512 + 100_352):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(daemon.socket))
            head = f"POST {BASE}/import?name=data HTTP/1.1\r\nHost: o\r\nContent-Length: {len(tar)}\r\n\r\n"
            client.sendall(head.encode() + tar[:sent])
            wait_for("the import to begin", lambda: list(staging.iterdir()))
        wait_for("the import to be thrown away", lambda: not list(staging.iterdir()))
    assert daemon.docker("volume", "ls", "-q").stdout == ""


def test_a_client_that_leaves_ends_the_export(daemon: LiveDaemon) -> None:
    daemon.docker("volume", "create", "data")
    (daemon.volume_data("data") / "big").write_bytes(bytes(30 << 20))
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(daemon.socket))
        client.sendall(f"GET {BASE}/data/export HTTP/1.1\r\nHost: o\r\n\r\n".encode())
        assert client.recv(12) == b"HTTP/1.1 200"
        assert b"archive.worker" in _command_lines(daemon)
        daemon.docker("volume", "rm", "data")
    wait_for("the packing process to end", lambda: b"archive.worker" not in _command_lines(daemon))


def _command_lines(daemon: LiveDaemon) -> bytes:
    """Of its children, whichever of its threads started them."""
    found = b""
    for thread in Path(f"/proc/{daemon.pid}/task").iterdir():
        with suppress(OSError):  # it has just ended, as any of these processes may
            for pid in (thread / "children").read_text().split():
                with suppress(OSError):
                    found += Path(f"/proc/{pid}/cmdline").read_bytes()
    return found


def test_a_full_disk_refuses_and_leaves_nothing(small_disk: Any, make_daemon: Any) -> None:
    disk = small_disk(60 << 20)
    daemon: LiveDaemon = make_daemon(data_root=disk / "data", image=False)
    tar = make_tar(*[file(f"f{number}", bytes(2_000_000)) for number in range(50)])
    refused = daemon.orlop("volume", "import", "data", "-", stdin=tar, code=1).stderr
    assert "No space left on device" in refused and "Free some space" in refused
    daemon.docker("volume", "create", "data")
    (daemon.volume_data("data") / "big").write_bytes(b"x" * (30 << 20))
    assert "No space left on device" in daemon.orlop("volume", "cp", "data", "again", code=1).stderr
    assert daemon.docker("volume", "ls", "-q").stdout == "data\n"
    assert list((daemon.data_root / "volumes/.staging").iterdir()) == []


@pytest.mark.parametrize("end", ["kill", "stop"])
def test_a_daemon_that_ends_while_copying_leaves_nothing(daemon: LiveDaemon, end: str) -> None:
    daemon.docker("volume", "create", "data")
    for number in range(12_000):
        (daemon.volume_data("data") / f"file{number}").touch()
    body = json.dumps({"Name": "again"}).encode()
    head = f"POST {BASE}/data/copy?progress=1 HTTP/1.1\r\nHost: o\r\nContent-Length: {len(body)}\r\n"
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(60)
        client.connect(str(daemon.socket))
        client.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        assert client.recv(12) == b"HTTP/1.1 200"
        daemon.kill() if end == "kill" else daemon.stop()
    daemon.start()
    assert daemon.docker("volume", "ls", "-q").stdout == "data\n"
    assert list((daemon.data_root / "volumes/.staging").iterdir()) == []


# Files in and out


def test_files_go_in_and_out(daemon: LiveDaemon, tmp_path: Path) -> None:
    daemon.docker("volume", "create", "data")
    (tmp_path / "site/sub").mkdir(parents=True)
    (tmp_path / "site/sub/index").write_text("hello")
    daemon.orlop("volume", "cp", tmp_path / "site", "data:/")
    daemon.orlop("volume", "cp", f"{tmp_path}/site/.", "data:/content")
    write(daemon, "cmp /data/site/sub/index /data/content/sub/index && echo more > /data/content/more")
    daemon.orlop("volume", "cp", "data:/content", tmp_path / "out")
    assert (tmp_path / "out/sub/index").read_text() == "hello" and (tmp_path / "out/more").read_text() == "more\n"
    daemon.orlop("volume", "cp", "data:content/more", tmp_path)
    assert (tmp_path / "more").read_text() == "more\n"
    tar = subprocess.run(
        [*daemon_command(daemon), "volume", "cp", "data:/content/.", "-"],
        env=daemon.orlop_environment, check=True, capture_output=True,
    ).stdout  # fmt: skip
    daemon.docker("volume", "create", "more")
    daemon.orlop("volume", "cp", "-", "more:/", stdin=tar)
    assert (daemon.volume_data("more") / "sub/index").read_text() == "hello"


def daemon_command(daemon: LiveDaemon) -> list[str]:
    from support.daemon import orlop_command

    return orlop_command()


def test_copies_of_files_that_cannot_be_say_why(daemon: LiveDaemon, tmp_path: Path) -> None:
    daemon.docker("volume", "create", "data")
    (daemon.volume_data("data") / "file").write_text("x")
    assert "no /none in volume data" in daemon.orlop("volume", "cp", "data:/none", tmp_path, code=1).stderr
    assert "no such volume" in daemon.orlop("volume", "cp", "nosuch:/x", tmp_path, code=1).stderr
    assert "no such volume" in daemon.orlop("volume", "cp", tmp_path, "nosuch:/x", code=1).stderr
    (tmp_path / "dir").mkdir()
    assert "which is none" in daemon.orlop("volume", "cp", tmp_path / "dir", "data:/file", code=1).stderr
    assert "only whole volumes" in daemon.orlop("volume", "cp", "data:/file", "data:/other", code=1).stderr


def test_archive_calls_answer_as_those_of_containers_do(daemon: LiveDaemon) -> None:
    daemon.docker("volume", "create", "data")
    top = daemon.volume_data("data")
    (top / "dir").mkdir(mode=0o750)
    (top / "dir/file").write_text("content")
    (top / "link").symlink_to("/dir/file")
    for method in ("HEAD", "GET", "PUT"):
        assert call(daemon, method, f"{BASE}/data/archive")[0] == 400
        assert call(daemon, method, f"{BASE}/none/archive?path=/")[0] == 404
        assert call(daemon, method, f"{BASE}/data/archive?path=/none")[0] == 404
    _, headers, _ = call(daemon, "HEAD", f"{BASE}/data/archive?path=/link")
    facts = json.loads(base64.b64decode(headers["x-docker-container-path-stat"]))
    assert facts["name"] == "link" and facts["mode"] & 1 << 27 and facts["linkTarget"] == "/dir/file"
    _, headers, body = call(daemon, "GET", f"{BASE}/data/archive?path=/dir")
    assert json.loads(base64.b64decode(headers["x-docker-container-path-stat"]))["mode"] == 1 << 31 | 0o750
    with tarfile.open(fileobj=io.BytesIO(body)) as tar:
        assert tar.getnames() == ["dir", "dir/file"]
    put = f"{BASE}/data/archive?path=/dir"
    assert call(daemon, "PUT", put, make_tar(file("new", b"x")))[0] == 200
    assert (top / "dir/new").read_text() == "x"
    assert call(daemon, "PUT", f"{BASE}/data/archive?path=/dir/file", make_tar(file("new", b"x")))[0] == 400
    status, _, body = call(daemon, "PUT", f"{BASE}/data/archive?path=/&noOverwriteDirNonDir=1", make_tar(file("dir")))
    assert status == 409 or b"cannot overwrite directory" in body
    for hostile in (b"nonsense" * 100, make_tar(file("../out", b"x")), make_tar(file("a", bytes(9000)))[:5000]):
        assert call(daemon, "PUT", put, hostile)[0] == 400
    assert not (daemon.data_root / "volumes/data/out").exists()


def test_volumes_that_need_mounting_are_mounted_for_the_call_only(daemon: LiveDaemon, tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    (tmp_path / "share/note").write_text("there")
    for name, options in (("rw", "bind"), ("ro", "bind,ro")):
        device = ("--opt", "type=none", "--opt", f"device={tmp_path}/share", "--opt", f"o={options}")
        daemon.docker("volume", "create", *device, name)
        assert call(daemon, "HEAD", f"{BASE}/{name}/archive?path=/note")[0] == 200
        assert call(daemon, "HEAD", f"{BASE}/{name}/archive?path=/none")[0] == 404
    assert call(daemon, "PUT", f"{BASE}/rw/archive?path=/", make_tar(file("new", b"x")))[0] == 200
    assert call(daemon, "PUT", f"{BASE}/rw/archive?path=/", b"nonsense" * 100)[0] == 400
    status, _, body = call(daemon, "PUT", f"{BASE}/ro/archive?path=/", make_tar(file("other", b"x")))
    assert status == 400 and b"mounted volume is marked read-only" in body
    assert sorted(path.name for path in (tmp_path / "share").iterdir()) == ["new", "note"]
    assert "there" in daemon.orlop("volume", "export", "ro", "-o", tmp_path / "ro.tar").stdout + (
        (tmp_path / "ro.tar").read_bytes().decode("latin-1")
    )
    assert [leak for leak in find_leaks([daemon.data_root]) if leak.startswith("mount")] == []


def test_nothing_is_written_into_memory_that_nobody_holds(daemon: LiveDaemon) -> None:
    daemon.docker("volume", "create", "-o", "type=tmpfs", "-o", "device=tmpfs", "mem")
    put = f"{BASE}/mem/archive?path=/"
    status, _, body = call(daemon, "PUT", put, make_tar(file("note", b"x")))
    assert status == 409 and b"in memory and nobody uses it" in body
    daemon.docker("run", "-d", "--name", "app", "-v", "mem:/mem", "busybox", "sleep", "1000")
    assert call(daemon, "PUT", put, make_tar(file("note", b"x")))[0] == 200
    assert daemon.docker("exec", "app", "cat", "/mem/note").stdout == "x"
    daemon.orlop("volume", "cp", "mem", "kept")
    assert (daemon.volume_data("kept") / "note").read_text() == "x"


def test_a_container_that_swaps_links_never_leads_outside(daemon: LiveDaemon, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("of the host")
    script = f"""
        cd /data; touch ready
        while :; do ln -sfn {secret} way; rm -rf way; mkdir way; echo of the volume >way/key; rm -rf way; done
    """
    daemon.docker("run", "-d", "--name", "app", "-v", "data:/data", "busybox", "sh", "-c", script)
    wait_for("the trickster", (daemon.volume_data("data") / "ready").exists)
    planted = make_tar(file("planted", b"x"))
    seen = set()
    for _ in range(150):
        status, _, body = call(daemon, "GET", f"{BASE}/data/archive?path={quote('/way/key')}")
        if status == 200:
            with tarfile.open(fileobj=io.BytesIO(body)) as tar:
                content = tar.extractfile("key")
                seen.add(content.read() if content else b"")
        call(daemon, "HEAD", f"{BASE}/data/archive?path=/way/key")
        if os.urandom(1)[0] < 40:
            call(daemon, "PUT", f"{BASE}/data/archive?path=/way", planted)
    for number in range(10):
        _, _, body = call(daemon, "GET", f"{BASE}/data/export")
        seen.add(body)
        assert call_json(daemon, "POST", f"{BASE}/data/copy", {"Name": f"copy{number}"})[0] == 201
        seen.update(path.read_bytes() for path in daemon.volume_data(f"copy{number}").rglob("key") if path.is_file())
    assert b"of the host" not in b"".join(seen)
    assert [path.name for path in secret.iterdir()] == ["key"]
