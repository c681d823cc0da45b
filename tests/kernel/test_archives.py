"""`docker cp` on real mounts: a stopped container's view, a running one's own namespace, and nobody led outside."""

import io
import os
import shutil
import stat
import subprocess
import tarfile
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from orlop.engine.archives import Archives
from orlop.engine.mount_trees import MountTrees
from orlop.engine.views import Views
from orlop.errors import Conflict, Malformed, NoSuchContainer, NotFound, OrlopError
from orlop.kernel.process import start_ticks
from orlop.model.container import Container, ContainerConfig, ContainerState, HostConfig, Status
from orlop.model.mount import Mount, MountKind

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: sudo script/test")

ID = "ef" * 32


def no_image(image_id: str) -> int:
    raise NotImplementedError


TREES = MountTrees(no_image)


class House:
    """A container `box` whose layer is a plain directory, and the host around it."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.layer = home / "layer"
        self.volume = home / "volume"
        self.views = home / "views"
        for folder in (self.layer / "etc", self.layer / "vol", self.volume, home / "scratch"):
            folder.mkdir(parents=True)
        self.container = Container(
            ID, "box", 1, "sha256:" + "0" * 64, ContainerConfig(), HostConfig(), "layer", status=Status()
        )
        self.events: list[str] = []
        self.attached: set[str] = set()
        self.in_use: set[str] = set()
        self.generated: dict[str, Path] = {}
        self.archives = Archives(
            self.find,
            Views(self, self.attach, self.detach, self.views, lambda _: self.generated, TREES),
            home / "scratch",
            lambda container, action: self.events.append(action),
        )

    def mount(self, *mounts: Mount) -> None:
        self.container = replace(self.container, mounts=mounts)

    # What the archives ask of others

    def find(self, reference: str) -> Container:
        if reference not in ("box", ID):
            raise NoSuchContainer(reference)
        return self.container

    def acquire(self, layer_id: str, user: str) -> Path:
        self.in_use.add(user)
        return self.layer

    def release(self, layer_id: str, user: str) -> None:
        self.in_use.discard(user)

    def attach(self, mount: Mount, container_id: str, purpose: str) -> Path:
        assert (container_id, purpose) == (ID, "view"), "a use apart from the process's own"
        self.attached.add(mount.destination)
        return self.volume

    def detach(self, mount: Mount, container_id: str, purpose: str) -> None:
        assert (container_id, purpose) == (ID, "view")
        self.attached.discard(mount.destination)

    # What a client does

    def put(self, path: str, tar: Path, keep_kinds: bool = True, as_user: bool = False) -> None:
        self.archives.put("box", path, tar, keep_kinds, as_user)

    def get(self, path: str) -> tarfile.TarFile:
        out = io.BytesIO()
        self.archives.get("box", path, out)
        return tarfile.open(fileobj=io.BytesIO(out.getvalue()))

    def names(self, path: str) -> list[str]:
        out = io.BytesIO()
        self.archives.get("box", path, out)
        return raw_names(out.getvalue())


def raw_names(data: bytes) -> list[str]:
    """As they stand in the headers; tarfile takes slashes away."""
    return [
        data[member.offset : member.offset + 100].rstrip(b"\0").decode()
        for member in tarfile.open(fileobj=io.BytesIO(data))
    ]


@pytest.fixture
def house(tmp_path: Path) -> Iterator[House]:
    made = House(tmp_path)
    yield made
    assert str(tmp_path) not in Path("/proc/self/mountinfo").read_text(), "a mount stayed behind"
    assert not made.views.exists() or not list(made.views.iterdir()), "a view stayed behind"
    assert not made.attached, "a volume stayed attached"
    assert not made.in_use, "the layer stayed mounted"
    assert not list((tmp_path / "scratch").iterdir())


@pytest.fixture
def running(house: House) -> Iterator[House]:
    """The same container with a process, in a mount namespace of its own: a volume at /vol, a tmpfs at /tmp, /proc."""
    for folder in ("bin", "proc", "tmp", "dev"):
        (house.layer / folder).mkdir()
    shutil.copy("/bin/busybox", house.layer / "bin/busybox")
    house.mount(volume_at("/vol"), Mount(MountKind.TMPFS, "/tmp", ""))
    script = """
        mount --bind "$0" "$0" && cd "$0" && mount --bind "$1" vol && mount -t tmpfs none tmp && mount -t proc none proc
        mount -t tmpfs none dev && echo in-memory >tmp/note && touch dev/null
        exec chroot . /bin/busybox sh -c 'echo ready; while read line; do eval "$line"; echo done; done'
    """
    process = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-ec", script, house.layer, house.volume],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout and process.stdout.readline() == "ready\n"
        status = Status(ContainerState.RUNNING, process.pid, os.getpid(), start_ticks(os.getpid()))
        house.container = replace(house.container, status=status)
        yield house
    finally:
        process.kill()
        process.communicate()


def volume_at(destination: str, read_only: bool = False) -> Mount:
    return Mount(MountKind.VOLUME, destination, "", volume="data", read_only=read_only)


@pytest.fixture
def tar_of(tmp_path: Path) -> Callable[..., Path]:
    """A tar of `name=text` members; a name ending in "/" is a directory, a text beginning with "->" a link."""

    def make(members: dict[str, str], mode: str = "w", uid: int = 0) -> Path:
        path = tmp_path / "upload.tar"
        with tarfile.open(path, mode) as tar:
            for name, text in members.items():
                member = tarfile.TarInfo(name)
                member.uid = member.gid = uid
                if name.endswith("/"):
                    member.type, member.mode = tarfile.DIRTYPE, 0o755
                elif text.startswith("->"):
                    member.type, member.linkname = tarfile.SYMTYPE, text[2:]
                else:
                    member.size = len(text)
                tar.addfile(member, io.BytesIO(text.encode()))
        return path

    return make


def test_a_file_goes_in_and_its_details_come_out(house: House, tar_of: Callable[..., Path]) -> None:
    house.put("/etc", tar_of({"motd": "hello"}, uid=5))
    assert (house.layer / "etc/motd").read_text() == "hello"
    assert (house.layer / "etc/motd").stat().st_uid == 5
    found = house.archives.stat("box", "/etc/motd")
    assert (found.name, found.size_bytes, stat.S_IFMT(found.mode), found.link_target) == ("motd", 5, stat.S_IFREG, "")
    assert house.events == ["extract-to-dir"]


@pytest.mark.parametrize("mode", ["w:gz", "w:bz2", "w:xz"])
def test_a_packed_archive_is_unpacked(house: House, tar_of: Callable[..., Path], mode: str) -> None:
    house.put("/etc", tar_of({"motd": "hello"}, mode))
    assert (house.layer / "etc/motd").read_text() == "hello"


def test_everything_can_be_made_the_containers_users(house: House, tar_of: Callable[..., Path]) -> None:
    (house.layer / "etc/passwd").write_text("app:x:1000:1001::/home:/bin/sh\n")
    house.container = replace(house.container, config=ContainerConfig(user="app"))
    house.put("/etc", tar_of({"d/": "", "d/f": "x"}, uid=7), as_user=True)
    for path in (house.layer / "etc/d", house.layer / "etc/d/f"):
        assert (path.stat().st_uid, path.stat().st_gid) == (1000, 1001)


def test_a_volume_of_a_stopped_container_is_seen_and_written(house: House, tar_of: Callable[..., Path]) -> None:
    house.mount(volume_at("/vol"))
    house.put("/vol", tar_of({"f": "kept"}))
    assert (house.volume / "f").read_text() == "kept"
    assert list((house.layer / "vol").iterdir()) == []
    assert house.archives.stat("box", "/vol/f").size_bytes == 4


def test_a_volume_whose_place_does_not_exist_yet_is_seen_and_nothing_is_made(house: House) -> None:
    house.mount(volume_at("/srv/data"))
    (house.volume / "d").mkdir()
    (house.volume / "d/f").write_text("kept")
    assert house.archives.stat("box", "/srv/data/d/f").size_bytes == 4
    assert house.archives.stat("box", "/srv/data").name == "data"
    assert house.names("/srv/data") == ["data/", "data/d/", "data/d/f"]
    assert not (house.layer / "srv").exists()


def test_what_is_written_into_a_container_that_never_ran_lands_in_its_volumes(
    house: House, tar_of: Callable[..., Path]
) -> None:
    """Not in the layer below, where nobody would see it once the volume is mounted."""
    house.mount(volume_at("/srv/data"))
    house.put("/srv/data", tar_of({"f": "kept"}))
    house.put("/", tar_of({"srv/data/d/g": "too"}))
    assert (house.volume / "f").read_text() == "kept"
    assert (house.volume / "d/g").read_text() == "too"
    assert list((house.layer / "srv/data").iterdir()) == []


def test_a_file_mounted_where_none_is_yet(house: House, tar_of: Callable[..., Path]) -> None:
    (house.home / "settings").write_text("of the host")
    house.mount(Mount(MountKind.BIND, "/etc/app/settings", str(house.home / "settings"), read_only=True))
    assert house.archives.stat("box", "/etc/app/settings").size_bytes == len("of the host")
    assert house.names("/etc/app/settings") == ["settings"]
    assert not (house.layer / "etc/app").exists()
    with pytest.raises(OrlopError):
        house.put("/etc/app", tar_of({"settings": "client's"}))
    assert (house.home / "settings").read_text() == "of the host"
    assert (house.layer / "etc/app/settings").read_text() == ""


def test_a_bind_and_the_files_the_daemon_makes_are_seen(house: House) -> None:
    (house.home / "hosts").write_text("127.0.0.1 localhost\n")
    (house.layer / "etc/hosts").touch()
    house.generated = {"/etc/hosts": house.home / "hosts"}
    house.mount(Mount(MountKind.BIND, "/vol", str(house.volume)))
    (house.volume / "here").touch()
    assert house.archives.stat("box", "/vol/here").name == "here"
    assert house.archives.stat("box", "/etc/hosts").size_bytes == 20


def test_a_bind_whose_source_is_gone_is_an_error_and_not_an_empty_directory(house: House) -> None:
    house.mount(Mount(MountKind.BIND, "/vol", "/no/such/place"))
    with pytest.raises(Conflict, match="/no/such/place does not exist on the host"):
        house.archives.stat("box", "/etc")


@pytest.mark.parametrize(
    ("mounts", "readonly_rootfs", "path", "text"),
    [
        ([volume_at("/vol", read_only=True)], False, "/vol", "mounted volume is marked read-only"),
        ([], True, "/etc", "container rootfs is marked read-only"),
        ([volume_at("/vol")], True, "/vol/link-to-etc", "container rootfs is marked read-only"),
        ([volume_at("/vol"), volume_at("/vol/sub", read_only=True)], False, "/vol/sub", "mounted volume is marked"),
        ([volume_at("/vol", read_only=True), volume_at("/vol/sub")], False, "/vol", "mounted volume is marked"),
    ],
)
def test_what_is_read_only_stays_so(
    house: House,
    tar_of: Callable[..., Path],
    mounts: list[Mount],
    readonly_rootfs: bool,
    path: str,
    text: str,
) -> None:
    (house.volume / "link-to-etc").symlink_to("/etc")
    (house.volume / "sub").mkdir()
    house.container = replace(house.container, mounts=tuple(mounts), host=HostConfig(readonly_rootfs=readonly_rootfs))
    with pytest.raises(Malformed) as caught:
        house.put(path, tar_of({"f": "x"}))
    assert text in caught.value.message
    assert caught.value.status == 400


def test_a_writable_volume_in_a_read_only_container_takes_files(house: House, tar_of: Callable[..., Path]) -> None:
    house.container = replace(house.container, mounts=(volume_at("/vol"),), host=HostConfig(readonly_rootfs=True))
    house.put("/vol", tar_of({"f": "x"}))
    assert (house.volume / "f").exists()


def test_the_kernel_guards_a_read_only_volume_below_a_writable_place(house: House, tar_of: Callable[..., Path]) -> None:
    house.mount(volume_at("/vol", read_only=True))
    with pytest.raises(OrlopError, match="Read-only file system"):
        house.put("/", tar_of({"vol/f": "x"}))
    assert not (house.volume / "f").exists()


@pytest.mark.parametrize("path", ["/nope", "/nope/deeper", "/etc/nope/", "/dangling/"])
def test_what_is_not_there_is_named_in_dockers_words(house: House, tar_of: Callable[..., Path], path: str) -> None:
    (house.layer / "dangling").symlink_to("/nowhere")
    calls: list[Callable[[], object]] = [
        lambda: house.archives.stat("box", path),
        lambda: house.get(path),
        lambda: house.put(path, tar_of({"f": "x"})),
    ]
    for call in calls:
        with pytest.raises(NotFound) as caught:
            call()
        assert caught.value.message == f"Could not find the file {path} in container box"


@pytest.mark.parametrize("path", ["/etc\0/passwd", "/" + "x" * 300, "/x" * 3000])
def test_a_path_that_cannot_be_one_is_refused(house: House, tar_of: Callable[..., Path], path: str) -> None:
    for call in (lambda: house.archives.stat("box", path), lambda: house.put(path, tar_of({"f": "x"}))):
        with pytest.raises((Malformed, NotFound)):
            call()


def test_only_a_directory_can_be_extracted_into(house: House, tar_of: Callable[..., Path]) -> None:
    (house.layer / "file").touch()
    with pytest.raises(Malformed, match="extraction point is not a directory"):
        house.put("/file", tar_of({"f": "x"}))
    with pytest.raises(Malformed, match="lstat /file/: not a directory"):
        house.archives.stat("box", "/file/")


def test_an_unknown_container_is_said_to_be(house: House) -> None:
    with pytest.raises(NoSuchContainer):
        house.archives.stat("other", "/etc")


def test_a_link_is_described_and_followed_only_when_asked(house: House) -> None:
    (house.layer / "link").symlink_to("../../../etc")
    (house.layer / "dangling").symlink_to("/no/where")
    found = house.archives.stat("box", "/link")
    assert (stat.S_IFMT(found.mode), found.link_target) == (stat.S_IFLNK, "/etc")
    followed = house.archives.stat("box", "/link/")
    assert (followed.name, stat.S_IFMT(followed.mode), followed.link_target) == ("link", stat.S_IFDIR, "")
    assert house.archives.stat("box", "/link/.").name == "."
    assert house.archives.stat("box", "/dangling").link_target == "/no/where"


def test_a_link_loop_ends(house: House) -> None:
    (house.layer / "a").symlink_to("/b")
    (house.layer / "b").symlink_to("/a")
    with pytest.raises(Malformed, match="too many levels of symbolic links"):
        house.archives.stat("box", "/a/x")


def test_links_never_lead_to_the_host(house: House, tar_of: Callable[..., Path]) -> None:
    secret = house.home / "secret"
    secret.mkdir()
    (secret / "key").write_text("host's")
    (house.layer / "out").symlink_to(secret)
    (house.layer / "up").symlink_to("/../../../../../.." + str(secret))
    for path in ("/out/key", "/up/key", "/out/", "../../.." + str(secret)):
        with pytest.raises(NotFound):
            house.archives.stat("box", path)
    with pytest.raises(NotFound):
        house.put("/out", tar_of({"f": "x"}))
    with pytest.raises(Malformed, match="member 'way/f' cannot be made"):
        house.put("/", tar_of({"way": f"->{secret}", "way/f": "x"}))
    assert sorted(secret.iterdir()) == [secret / "key"]


def test_a_directory_is_not_replaced_by_a_file_when_the_client_forbids_it(
    house: House, tar_of: Callable[..., Path]
) -> None:
    with pytest.raises(OrlopError, match=r'cannot overwrite directory "/etc" with non-directory "etc"'):
        house.put("/", tar_of({"etc": "x"}))
    house.put("/", tar_of({"etc": "x"}), keep_kinds=False)
    assert (house.layer / "etc").read_text() == "x"


def test_a_broken_archive_is_refused(house: House, tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"no tar at all" * 100)
    with pytest.raises(Malformed, match="not a tar archive"):
        house.put("/etc", broken)
    broken.write_bytes(b"")
    house.put("/etc", broken)


def test_a_member_that_climbs_out_is_refused(house: House, tar_of: Callable[..., Path]) -> None:
    with pytest.raises(Malformed, match="leaves the root"):
        house.put("/etc", tar_of({"../../f": "x"}))


def test_a_running_container_is_seen_as_it_sees_itself(running: House, tar_of: Callable[..., Path]) -> None:
    assert running.archives.stat("box", "/tmp/note").size_bytes == len("in-memory\n")
    running.put("/tmp", tar_of({"more": "x"}))
    assert running.archives.stat("box", "/tmp/more").size_bytes == 1
    assert not (running.layer / "tmp/more").exists()
    running.put("/vol", tar_of({"f": "x"}))
    assert (running.volume / "f").exists()


def test_a_process_that_is_not_the_containers_is_never_entered(running: House) -> None:
    """The pid was handed to somebody else: the supervisor is not its parent."""
    running.container = replace(running.container, status=replace(running.container.status, pid=1))
    with pytest.raises(NotFound):
        running.archives.stat("box", "/tmp/note")
    stale = replace(running.container.status, supervisor_started=1)
    running.container = replace(running.container, status=stale)
    with pytest.raises(NotFound):
        running.archives.stat("box", "/tmp/note")


def test_links_swapped_while_copying_never_lead_outside(running: House, tar_of: Callable[..., Path]) -> None:
    """CVE-2018-15664: a process in the container makes /d a directory and a link to the host's secret in turn."""
    secret = running.home / "secret"
    secret.mkdir()
    (secret / "key").write_text("host's")
    tar = tar_of({"key": "client's"})
    stop = threading.Event()
    (running.layer / "real").mkdir()
    (running.layer / "real/key").write_text("container's")

    def swap() -> None:
        way = running.layer / "d"
        while not stop.is_set():
            for make in (lambda: way.symlink_to(secret), lambda: way.symlink_to("/real"), way.mkdir):
                with suppress(FileExistsError):  # a copy going on has made it
                    make()
                if way.is_symlink():
                    way.unlink()
                else:
                    shutil.rmtree(way, ignore_errors=True)

    thread = threading.Thread(target=swap)
    thread.start()
    sizes = set()
    try:
        for _ in range(300):
            with suppress(OrlopError):
                sizes.add(running.archives.stat("box", "/d/key").size_bytes)
            with suppress(OrlopError):
                running.put("/d", tar)
    finally:
        stop.set()
        thread.join()
    assert len("host's") not in sizes
    assert (secret / "key").read_text() == "host's"
    assert sorted(secret.iterdir()) == [secret / "key"]


def test_what_a_crash_left_is_put_away_at_the_next_start(house: House) -> None:
    left = house.views / f"{ID}-0123"
    left.mkdir(parents=True)
    subprocess.run(["mount", "--bind", house.layer, left], check=True)
    subprocess.run(["mount", "--bind", house.volume, left / "vol"], check=True)
    (house.volume / "f").write_text("kept")
    house.mount(volume_at("/vol"))
    house.attached.add("/vol")
    nobodys = house.views / ("99" * 32 + "-0123")
    nobodys.mkdir()
    new = Views(house, house.attach, house.detach, house.views, lambda _: {}, TREES)
    new.reconcile({ID: house.container}.get)
    assert not left.exists()
    assert not nobodys.exists()
    assert not house.attached
    assert (house.volume / "f").read_text() == "kept"


def test_two_copies_at_once_let_go_of_the_volume_once(house: House) -> None:
    house.mount(volume_at("/vol"))
    (house.volume / "f").write_text("kept")
    views = Views(house, house.attach, house.detach, house.views, lambda _: {}, TREES)
    with views.open(house.container) as first:
        with views.open(house.container):
            pass
        assert house.attached == {"/vol"}
        with first.open("/vol/f", os.O_RDONLY, follow_last=True) as found:
            assert os.read(found.fd, 10) == b"kept"


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/d", ["d/", "d/f", "d/link", "d/sub/", "d/sub/g"]),
        ("d/", ["d/", "d/f", "d/link", "d/sub/", "d/sub/g"]),
        ("/d/.", ["./", "./f", "./link", "./sub/", "./sub/g"]),
        ("/d/sub/../f", ["f"]),
        ("/d/link", ["link"]),
        ("/to-d", ["to-d"]),
        ("/to-d/", ["to-d/", "to-d/f", "to-d/link", "to-d/sub/", "to-d/sub/g"]),
        ("/to-d/.", ["./", "./f", "./link", "./sub/", "./sub/g"]),
        ("/to-d/sub", ["sub/", "sub/g"]),
        ("/to-d/f", ["f"]),
    ],
)
def test_members_are_named_from_the_last_part_of_the_path(house: House, path: str, names: list[str]) -> None:
    """As seen on Docker 20.10."""
    (house.layer / "d/sub").mkdir(parents=True)
    (house.layer / "d/f").write_text("f")
    (house.layer / "d/sub/g").write_text("g")
    (house.layer / "d/link").symlink_to("f")
    (house.layer / "to-d").symlink_to("/d")
    assert house.names(path) == names
    assert house.events == ["archive-path"]


def test_the_whole_tree_begins_at_the_slash(house: House) -> None:
    house.mount(volume_at("/vol"))
    (house.volume / "f").touch()
    assert house.names("/") == ["/", "/etc/", "/vol/", "/vol/f"]
    assert house.names("/.") == ["./", "./etc/", "./vol/", "./vol/f"]


def test_what_comes_out_is_what_went_in(house: House, tar_of: Callable[..., Path], tmp_path: Path) -> None:
    (house.layer / "d").mkdir()
    file = house.layer / "d/f"
    file.write_bytes(os.urandom(3_000_000))
    file.chmod(0o4751)
    os.chown(file, 5, 6)
    file.chmod(0o4751)
    os.setxattr(file, "user.note", b"\0kept")
    os.mkfifo(house.layer / "d/pipe")
    os.link(file, house.layer / "d/same")
    tar = tmp_path / "out.tar"
    with tar.open("wb", buffering=0) as out:
        house.archives.get("box", "/d/.", out)
    house.put("/vol", tar)
    copy = house.layer / "vol/f"
    assert copy.read_bytes() == file.read_bytes()
    assert (stat.S_IMODE(copy.stat().st_mode), copy.stat().st_uid, copy.stat().st_gid) == (0o4751, 5, 6)
    assert os.getxattr(copy, "user.note") == b"\0kept"
    assert stat.S_ISFIFO((house.layer / "vol/pipe").lstat().st_mode)
    assert copy.samefile(house.layer / "vol/same")


def test_a_large_file_goes_from_one_file_system_to_another(running: House, tmp_path: Path) -> None:
    """Into a tmpfs and out of it: the kernel cannot share blocks, and copies."""
    content = os.urandom(5_000_001)
    (tmp_path / "big").write_bytes(content)
    tar = tmp_path / "big.tar"
    with tarfile.open(tar, "w") as archive:
        archive.add(tmp_path / "big", "before")
        archive.add(tmp_path / "big", "big")
    running.put("/tmp", tar)
    for buffering in (0, -1):
        back = tmp_path / "back.tar"
        with back.open("wb", buffering=buffering) as out:
            running.archives.get("box", "/tmp/big", out)  # type: ignore[arg-type]
        with tarfile.open(back) as archive:
            assert [member.name for member in archive] == ["big"]
            extracted = archive.extractfile("big")
            assert extracted and extracted.read() == content


def test_a_file_with_holes_is_written_out_so_that_every_tar_reads_it(house: House) -> None:
    with (house.layer / "etc/holes").open("wb") as file:
        file.truncate(1 << 20)
    member = house.get("/etc/holes").getmember("holes")
    assert (member.size, member.issparse()) == (1 << 20, False)


def test_the_whole_of_a_running_container_comes_without_the_kernels_files(running: House) -> None:
    names = running.names("/")
    assert {"/proc/", "/dev/", "/tmp/", "/tmp/note"} <= set(names)
    assert [name for name in names if name.startswith(("/proc/", "/dev/"))] == ["/dev/", "/proc/"]
    assert "null" in running.names("/dev/null"), "asked for by name it is there"
