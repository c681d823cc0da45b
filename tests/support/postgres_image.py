"""An image of Debian with PostgreSQL, made by other people's tools: debootstrap fills a folder, buildah makes an OCI
archive of it. It takes two minutes and is kept in .cache, named by all that decides what is in it."""

import hashlib
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from support.daemon import CHECKOUT, run_command

SUITE = "bookworm"
NOT_NEEDED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "var/cache/apt",
    "var/lib/apt/lists",
)
REFERENCE = "localhost/postgres:debian"


def postgres_archive() -> Path:
    """The archive of an image whose PostgreSQL runs as user postgres, its data in VOLUME /var/lib/postgresql."""
    key = hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:16]
    archive = CHECKOUT / ".cache" / f"postgres-{key}.tar"
    if not archive.exists():
        archive.parent.mkdir(exist_ok=True)
        for old in archive.parent.glob("postgres-*.tar"):
            old.unlink()
        with tempfile.TemporaryDirectory(prefix="orlop-postgres-", dir="/var/tmp") as folder:
            made = _make(Path(folder))
            shutil.move(made, archive.with_suffix(".new"))
        archive.with_suffix(".new").rename(archive)
    return archive


def _mirror() -> Sequence[str]:
    """Where this machine's own packages come from; debootstrap's default where apt does not say."""
    asked = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages", f"Codename: {SUITE}"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.split()[:1]


def _make(folder: Path) -> Path:
    root = folder / "root"
    arguments: list[str | Path] = ["--variant=minbase", "--include=postgresql", SUITE, root, *_mirror()]
    try:
        run_command(["debootstrap", *arguments], timeout=500)
    finally:
        for mount in ("proc", "sys"):
            subprocess.run(["umount", "-l", root / mount], capture_output=True, check=False)
    for name in NOT_NEEDED:
        shutil.rmtree(root / name)
        (root / name).mkdir()
    (server,) = (root / "usr/lib/postgresql").iterdir()
    configuration = f"/etc/postgresql/{server.name}/main/postgresql.conf"
    command = f'["/usr/lib/postgresql/{server.name}/bin/postgres","-c","config_file={configuration}"]'

    store = ["buildah", "--root", str(folder / "store"), "--runroot", str(folder / "run"), "--storage-driver", "vfs"]
    name = run_command([*store, "from", "scratch"]).stdout.strip()
    # As an archive: a folder's files would all become root's.
    run_command(["tar", "--numeric-owner", "--xattrs", "-C", root, "-cf", folder / "root.tar", "."], timeout=300)
    shutil.rmtree(root)
    run_command([*store, "add", "--quiet", name, folder / "root.tar", "/"], timeout=300)
    wishes = ["--user", "postgres", "--volume", "/var/lib/postgresql", "--workingdir", "/", "--env", "PGHOST=/tmp"]
    path = f"PATH=/usr/lib/postgresql/{server.name}/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    run_command([*store, "config", *wishes, "--env", path, "--cmd", command, name])
    archive = folder / "postgres.tar"
    run_command([*store, "commit", "--quiet", "--rm", name, f"oci-archive:{archive}:{REFERENCE}"], timeout=300)
    return archive
