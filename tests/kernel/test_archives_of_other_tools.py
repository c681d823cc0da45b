"""Archives that skopeo and buildah wrote, on real layers; and ours, read by them."""

import io
import os
import shutil
import stat
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orlop.drivers.layers.driver import LayerDriver
from orlop.drivers.layers.overlay2 import Overlay2Layers
from orlop.drivers.layers.vfs import VfsLayers
from orlop.errors import HostFailure, Malformed
from support.disks import mounted_disk
from support.image_store import ImageStore

pytestmark = pytest.mark.usefixtures("needs_root")

NAME = "registry.example/me/two:1"
# cap_net_raw=ep as the kernel stores it (struct vfs_cap_data, revision 2)
CAPABILITY = bytes.fromhex("0100000200200000000000000000000000000000")
CHANGES = "echo hi > /new; rm /etc/os-release; rm -r /home; mkdir /home; echo x > /home/y; chmod 4755 /bin/busybox"


@pytest.fixture(scope="module")
def rootfs(busybox_tar: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """busybox, and what only a careful unpacker gets right."""
    path = shutil.copy(busybox_tar, tmp_path_factory.mktemp("rootfs") / "rootfs.tar")
    with tarfile.open(path, "a", format=tarfile.PAX_FORMAT) as tar:
        device = tarfile.TarInfo("dev/null")
        device.type, device.mode, device.devmajor, device.devminor = tarfile.CHRTYPE, 0o666, 1, 3
        tar.addfile(device)
        program = tarfile.TarInfo("usr/bin/raw")
        program.size, program.mode, program.uid, program.gid = 4, 0o755, 1000, 70000
        program.pax_headers = {"SCHILY.xattr.security.capability": CAPABILITY.decode("latin-1")}
        tar.addfile(program, io.BytesIO(b"raw\n"))
    return path


@pytest.fixture(scope="module")
def archives(rootfs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same image of two layers, in every form that these tools write."""
    for tool in ("buildah", "skopeo"):
        if not shutil.which(tool):
            pytest.skip(f"{tool} is not installed (script/setup installs it)")
    home = tmp_path_factory.mktemp("archives")
    buildah = ["--storage-driver", "vfs", "--root", str(home / "storage"), "--runroot", str(home / "run")]

    def build(*arguments: str | Path) -> str:
        command = ["buildah", *buildah, *map(str, arguments)]
        return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout.strip()

    base = build("from", "scratch")
    build("add", "--quiet", base, rootfs, "/")
    build("config", "--cmd", "sh", "--env", "A=1", "--volume", "/data", "--label", "made=there", base)
    build("commit", "--quiet", base, "base")
    two = build("from", "base")
    build("run", "--isolation", "chroot", two, "sh", "-c", CHANGES)
    build("commit", "--quiet", "--format", "docker", two, f"docker-archive:{home}/buildah-docker.tar:{NAME}")
    build("commit", "--quiet", two, f"oci-archive:{home}/buildah-oci.tar:{NAME}")
    build("rm", base, two)
    source = f"oci-archive:{home}/buildah-oci.tar:{NAME}"
    for compression in ("gzip", "zstd"):
        target = f"oci-archive:{home}/skopeo-{compression}.tar:{NAME}"
        skopeo("copy", "--dest-compress", "--dest-compress-format", compression, source, target)
    skopeo("copy", source, f"docker-archive:{home}/skopeo-docker.tar:{NAME}")
    return home


def skopeo(*arguments: str | Path) -> str:
    command = ["skopeo", *map(str, arguments)]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


DRIVERS: list[Callable[[Path], LayerDriver]] = [Overlay2Layers, VfsLayers]
FORMS = ["buildah-docker", "buildah-oci", "skopeo-gzip", "skopeo-zstd", "skopeo-docker"]


@pytest.fixture(params=DRIVERS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ImageStore]:
    store = ImageStore(tmp_path / "root", request.param)
    yield store
    store.close()


@contextmanager
def mounted(store: ImageStore, reference: str) -> Iterator[Path]:
    layer = "e" * 64
    store.driver.create_writable(layer, store.images.top_layer(store.images.resolve(reference)))
    try:
        yield store.driver.mount(layer)
    finally:
        store.driver.unmount(layer)
        store.driver.remove(layer)


@pytest.mark.parametrize("form", FORMS)
def test_image_of_another_tool_has_the_files_that_tool_put_in(store: ImageStore, archives: Path, form: str) -> None:
    ((image_id, references),) = store.load(archives / f"{form}.tar")
    assert references == (NAME,)
    config = store.images.config(store.images.resolve(image_id))
    assert (config.command, config.volumes, config.labels["made"]) == (("sh",), ("/data",), "there")
    with mounted(store, NAME) as tree:
        assert (tree / "new").read_text() == "hi\n"
        assert not (tree / "etc/os-release").exists()
        assert os.listdir(tree / "home") == ["y"]
        null, raw = (tree / "dev/null").lstat(), (tree / "usr/bin/raw").lstat()
        assert stat.S_ISCHR(null.st_mode)
        assert null.st_rdev == os.makedev(1, 3)
        assert (raw.st_uid, raw.st_gid, raw.st_size) == (1000, 70000, 4)
        assert os.getxattr(tree / "usr/bin/raw", "security.capability") == CAPABILITY
        assert (tree / "bin/busybox").lstat().st_mode & 0o7777 == 0o4755


@pytest.mark.parametrize("form", FORMS)
def test_saved_again_the_image_and_its_layers_are_byte_for_byte_the_same(
    store: ImageStore, archives: Path, tmp_path: Path, form: str
) -> None:
    ((image_id, _),) = store.load(archives / f"{form}.tar")
    (tmp_path / "saved.tar").write_bytes(store.save(NAME))
    other = ImageStore(tmp_path / "other", Overlay2Layers)
    try:
        assert other.load(tmp_path / "saved.tar") == [(image_id, (NAME,))]
    finally:
        other.close()


def test_saved_archive_is_read_by_skopeo_in_both_its_formats(store: ImageStore, archives: Path, tmp_path: Path) -> None:
    store.load(archives / "skopeo-zstd.tar")
    (tmp_path / "saved.tar").write_bytes(store.save(NAME))
    for number, form in enumerate((f"docker-archive:{tmp_path}/saved.tar:{NAME}", f"oci-archive:{tmp_path}/saved.tar")):
        skopeo("copy", form, f"oci:{tmp_path}/copy{number}:{NAME}")  # checks every digest on the way


def test_same_image_in_every_form_is_kept_once(store: ImageStore, archives: Path) -> None:
    for form in FORMS[1:]:  # buildah makes another top layer at each commit
        store.load(archives / f"{form}.tar")
    assert len(store.driver.list_layers()) == 2


def test_archive_altered_on_the_way_is_refused_and_leaves_no_layer(
    store: ImageStore, archives: Path, tmp_path: Path
) -> None:
    """The last layer of the archive is damaged, where only its digest can tell."""
    content = bytearray((archives / "buildah-docker.tar").read_bytes())
    at = content.rindex(b"hi\n")
    content[at : at + 2] = b"ho"
    (tmp_path / "altered.tar").write_bytes(content)
    store.load(archives / "skopeo-docker.tar")
    store.images.remove(NAME, True, True)
    before = store.state()
    with pytest.raises(Malformed, match="invalid diffID for layer 1"):
        store.load(tmp_path / "altered.tar")
    assert store.state() == before


def test_imported_root_file_system_is_saved_as_it_came(store: ImageStore, rootfs: Path, tmp_path: Path) -> None:
    image = store.images.import_archive(rootfs, NAME, ('CMD ["sh"]',), "", "", store.reported.append)
    (tmp_path / "saved.tar").write_bytes(store.save(NAME))
    with tarfile.open(tmp_path / "saved.tar") as tar:
        layer = tar.extractfile("blobs/sha256/" + image.diff_ids[0][7:])
        assert layer
        assert layer.read() == rootfs.read_bytes()


@pytest.mark.parametrize("driver", DRIVERS)
def test_image_too_large_for_the_disk_is_refused_and_the_disk_is_free_again(
    archives: Path, rootfs: Path, tmp_path: Path, driver: Callable[[Path], LayerDriver]
) -> None:
    with mounted_disk(tmp_path, 20 << 20) as disk:
        store = ImageStore(disk / "root", driver)
        try:
            store.load(archives / "skopeo-gzip.tar")
            before = store.state()
            with (tmp_path / "large.tar").open("wb") as file, tarfile.open(fileobj=file, mode="w") as tar:
                member = tarfile.TarInfo("large")
                member.size = 20 << 20
                tar.addfile(member, io.BytesIO(os.urandom(member.size)))
            with pytest.raises(HostFailure, match="No space left on device"):
                store.images.import_archive(tmp_path / "large.tar", "large", (), "", "", store.reported.append)
            assert store.state() == before
            store.images.import_archive(rootfs, "small", (), "", "", store.reported.append)
            assert store.save("small", NAME)
        finally:
            store.close()
