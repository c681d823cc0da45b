"""What the cases work on, made once a run: archives of known content, the same for every peer."""

import gzip
import hashlib
import io
import json
import random
import subprocess
import tarfile
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path

from bench.plugin_server import plugin

MEGABYTE = 1 << 20


class Material:
    """`scale` shrinks everything that is large, for a quick look (1.0 is what PERFORMANCE's figures were made with)."""

    def __init__(self, folder: Path, scale: float = 1.0) -> None:
        self.folder = folder
        self.scale = scale
        self._lasting = ExitStack()

    def close(self) -> None:
        self._lasting.close()

    @cached_property
    def plugin(self) -> str:
        """The name of a volume plugin. One for the whole run: dockerd asks whoever it has met ever after, and waits for
        one that is gone."""
        return self._lasting.enter_context(plugin(self.folder))

    def count(self, full: int) -> int:
        return max(2, int(full * self.scale))

    @cached_property
    def busybox(self) -> Path:
        """A root file system to import."""
        path = self.folder / "busybox.tar"
        applets = subprocess.run(["/bin/busybox", "--list"], check=True, capture_output=True, text=True).stdout.split()
        with tarfile.open(path, "w") as tar:
            for name in ("bin", "etc", "tmp", "data"):
                add(tar, name, None, 0o755)
            add(tar, "bin/busybox", Path("/bin/busybox").read_bytes(), 0o755)
            add(tar, "etc/passwd", b"root:x:0:0:root:/:/bin/sh\n")
            for applet in applets:
                if applet != "busybox":
                    entry = tarfile.TarInfo(f"bin/{applet}")
                    entry.type, entry.linkname = tarfile.SYMTYPE, "busybox"
                    tar.addfile(entry)
        return path

    @cached_property
    def layer(self) -> Path:
        """20 000 small files and 300 MB of big ones."""
        return self._tree("layer.tar", self.count(20_000), self.count(300))

    @cached_property
    def rootfs(self) -> Path:
        """10 000 files, 200 MB, and a busybox, for `import` and copy-up: the content lies in /content."""
        return self._tree("rootfs.tar", self.count(10_000), self.count(180), prefix="content/", busybox=True)

    @cached_property
    def image(self) -> Path:
        """`layer` as an image archive of Docker's kind."""
        path = self.folder / "image.tar"
        layer = self.layer.read_bytes()
        config = {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Cmd": ["/bin/true"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
            "history": [{"created": "2026-01-01T00:00:00Z", "created_by": "bench"}],
            "created": "2026-01-01T00:00:00Z",
        }
        blob = json.dumps(config).encode()
        name = hashlib.sha256(blob).hexdigest() + ".json"
        manifest = [{"Config": name, "RepoTags": ["bench/load:latest"], "Layers": ["l/layer.tar"]}]
        with tarfile.open(path, "w") as tar:
            add(tar, name, blob)
            add(tar, "l", None, 0o755)
            add(tar, "l/layer.tar", layer)
            add(tar, "l/VERSION", b"1.0")
            add(tar, "l/json", json.dumps({"id": "l"}).encode())
            add(tar, "manifest.json", json.dumps(manifest).encode())
        return path

    @cached_property
    def gzipped_image(self) -> Path:
        path = self.folder / "image.tar.gz"
        with gzip.open(path, "wb", compresslevel=1) as file:
            file.write(self.image.read_bytes())
        return path

    @cached_property
    def big_file(self) -> Path:
        path = self.folder / "big.tar"
        with tarfile.open(path, "w") as tar:
            add(tar, "big", self._bytes(self.count(200) * MEGABYTE))
        return path

    @cached_property
    def small_files(self) -> Path:
        path = self.folder / "small.tar"
        with tarfile.open(path, "w") as tar:
            add(tar, "small", None, 0o755)
            for number in range(self.count(5000)):
                add(tar, f"small/{number}", self._bytes(2000))
        return path

    def _tree(self, name: str, files: int, megabytes: int, prefix: str = "", busybox: bool = False) -> Path:
        path = self.folder / name
        with tarfile.open(path, "w") as tar:
            if prefix:
                add(tar, prefix.rstrip("/"), None, 0o755)
            for number in range(files):
                if number % 100 == 0:
                    add(tar, f"{prefix}d{number // 100}", None, 0o755)
                add(tar, f"{prefix}d{number // 100}/f{number}", self._bytes(200 + 37 * number % 3600))
            for number in range(max(1, megabytes // 20)):
                add(tar, f"{prefix}big{number}", self._bytes(20 * MEGABYTE))
            if busybox:
                add(tar, "bin", None, 0o755)
                add(tar, "bin/busybox", Path("/bin/busybox").read_bytes(), 0o755)
        return path

    def _bytes(self, size: int) -> bytes:
        """Half noise, half text, so that packing it costs what it usually does. The same in every run."""
        source = random.Random(size)
        noise = source.randbytes(min(size, MEGABYTE) // 2)
        block = noise + b"the lowest deck keeps the stores " * (len(noise) // 33 + 1)
        return (block * (size // len(block) + 1))[:size]


def add(tar: tarfile.TarFile, name: str, content: bytes | None, mode: int = 0o644) -> None:
    """A file, or a directory where there is no content."""
    entry = tarfile.TarInfo(name)
    entry.mode, entry.mtime = mode, 1_700_000_000
    if content is None:
        entry.type = tarfile.DIRTYPE
        tar.addfile(entry)
    else:
        entry.size = len(content)
        tar.addfile(entry, io.BytesIO(content))
