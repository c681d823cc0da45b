"""Files of containers: cp both ways, diff, commit, export."""

import io
import tarfile
from pathlib import Path

import pytest

from support.daemon import LiveDaemon


@pytest.fixture(params=["running", "created"])
def app(request: pytest.FixtureRequest, daemon: LiveDaemon) -> LiveDaemon:
    daemon.docker("create", "--name", "app", "-v", "data:/data", "busybox", "sleep", "1000")
    if request.param == "running":
        daemon.docker("start", "app")
    return daemon


def test_a_file_goes_in_and_comes_out(app: LiveDaemon, tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.write_bytes(bytes(range(256)) * 1000)
    source.chmod(0o640)
    app.docker("cp", source, "app:/tmp/file")
    app.docker("cp", "app:/tmp/file", tmp_path / "out")
    assert (tmp_path / "out").read_bytes() == source.read_bytes()
    assert (tmp_path / "out").stat().st_mode & 0o777 == 0o640


def test_a_folder_goes_in_and_comes_out_with_its_links(app: LiveDaemon, tmp_path: Path) -> None:
    folder = tmp_path / "folder"
    (folder / "sub").mkdir(parents=True)
    (folder / "sub/file").write_text("text")
    (folder / "link").symlink_to("sub/file")
    app.docker("cp", folder, "app:/tmp")
    app.docker("cp", "app:/tmp/folder", tmp_path / "back")
    assert (tmp_path / "back/sub/file").read_text() == "text"
    assert str((tmp_path / "back/link").readlink()) == "sub/file"


def test_what_is_copied_into_a_volume_is_in_the_volume(app: LiveDaemon, tmp_path: Path) -> None:
    (tmp_path / "note").write_text("hello")
    app.docker("cp", tmp_path / "note", "app:/data/note")
    assert app.volume_data("data").joinpath("note").read_text() == "hello"
    app.docker("cp", "app:/data/note", tmp_path / "back")
    assert (tmp_path / "back").read_text() == "hello"


def test_a_link_to_the_host_s_files_stays_within_the_container(app: LiveDaemon, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("of the host")
    app.volume_data("data").joinpath("escape").symlink_to(tmp_path)
    assert app.docker("cp", "app:/data/escape/secret", tmp_path / "out", code=None).returncode != 0
    (tmp_path / "new").write_text("from outside")
    app.docker("cp", tmp_path / "new", "app:/data/escape/secret", code=None)
    assert secret.read_text() == "of the host"


def test_cp_of_what_is_not_there(app: LiveDaemon, tmp_path: Path) -> None:
    assert "/no/such" in app.docker("cp", "app:/no/such", tmp_path, code=1).stderr
    (tmp_path / "f").touch()
    assert app.docker("cp", tmp_path / "f", "app:/no/such/folder/f", code=1).stderr
    refused = app.docker("cp", "ghost:/etc", tmp_path, code=1).stderr
    assert "No such container" in refused
    assert "ghost" in refused


def test_cp_into_a_read_only_mount_is_refused(daemon: LiveDaemon, tmp_path: Path) -> None:
    daemon.docker("create", "--name", "app", "-v", "data:/data:ro", "busybox", "true")
    (tmp_path / "f").touch()
    assert "read-only" in daemon.docker("cp", tmp_path / "f", "app:/data/f", code=1).stderr.lower()
    daemon.docker("rm", "app")
    daemon.docker("create", "--name", "app", "--read-only", "busybox", "true")
    assert "read-only" in daemon.docker("cp", tmp_path / "f", "app:/f", code=1).stderr.lower()


def test_cp_as_a_stream(app: LiveDaemon) -> None:
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("piped")
        entry.size = 4
        tar.addfile(entry, io.BytesIO(b"data"))
    app.docker("cp", "-", "app:/tmp", stdin=archive.getvalue())
    answer = app.docker("cp", "app:/tmp/piped", "-").stdout.encode(errors="surrogateescape")
    with tarfile.open(fileobj=io.BytesIO(answer)) as tar:
        member = tar.extractfile("piped")
        assert member
        assert member.read() == b"data"


def test_diff_names_what_changed(daemon: LiveDaemon) -> None:
    script = "touch /new; echo x >> /etc/passwd; rm /etc/group; mkdir /fresh; touch /fresh/f; echo > /data/unseen"
    daemon.docker("run", "--name", "app", "-v", "data:/data", "busybox", "sh", "-c", script)
    lines = set(daemon.docker("diff", "app").stdout.splitlines())
    assert {"A /new", "C /etc", "C /etc/passwd", "D /etc/group", "A /fresh", "A /fresh/f"} <= lines
    assert not [line for line in lines if "unseen" in line or "/proc" in line or "/dev" in line]


def test_commit_makes_an_image_of_it(daemon: LiveDaemon) -> None:
    script = "echo new > /new; rm /etc/group; echo kept > /data/kept"
    daemon.docker("run", "--name", "app", "-v", "data:/data", "busybox", "sh", "-c", script)
    daemon.docker("commit", "-m", "a change", "-a", "me", "-c", 'CMD ["cat","/new"]', "app", "made:1")
    assert daemon.docker("run", "--rm", "made:1").stdout == "new\n"
    assert daemon.docker("run", "--rm", "made:1", "ls", "/etc/group", code=1)
    assert daemon.docker("run", "--rm", "made:1", "ls", "/data").stdout == "", "a volume's content is no part of it"
    layers = daemon.inspect("image", "made:1")["RootFS"]["Layers"]
    assert layers[:-1] == daemon.inspect("image", "busybox")["RootFS"]["Layers"]
    assert "a change" in daemon.docker("history", "--no-trunc", "made:1").stdout
    daemon.docker("rm", "app")
    daemon.docker("rmi", "made:1")


def test_export_is_the_whole_file_system(app: LiveDaemon, tmp_path: Path) -> None:
    app.docker("export", "-o", tmp_path / "out.tar", "app")
    with tarfile.open(tmp_path / "out.tar") as tar:
        names = {name.rstrip("/").removeprefix("./") for name in tar.getnames()}
        assert {"bin/busybox", "etc/passwd", "tmp"} <= names
        assert tar.getmember(next(name for name in tar.getnames() if name.endswith("bin/sh"))).issym()
    app.docker("import", tmp_path / "out.tar", "again")
    assert app.docker("run", "--rm", "again", "echo", "works").stdout == "works\n"
    app.docker("rmi", "again")
