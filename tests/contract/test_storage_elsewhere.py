"""Every kind of storage elsewhere keeps the contract of volume drivers, on the real thing: S3, the protocols of a NAS,
JuiceFS with its names in Redis and in PostgreSQL, and what is encrypted over them."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from orlop.drivers.volumes.cloud import CloudBackend
from orlop.drivers.volumes.driver import VolumeDriver
from orlop.drivers.volumes.encrypted import EncryptedVolumes
from orlop.drivers.volumes.juicefs import JuicefsBackend
from orlop.drivers.volumes.nas import NasBackend
from orlop.drivers.volumes.served import ServedVolumes
from orlop.drivers.volumes.served_backend import Backend
from orlop.kernel.mounts import MNT_DETACH, mounts_at_or_below, unmount
from orlop.testing.volume_changes import ChangingContract, LastingUsesContract, RenamingContract
from orlop.testing.volume_fixtures import VolumeFixtures
from orlop.testing.volumes import RetirementContract, SelfDescribingContract, VolumeDriverContract, new_id
from support import nas
from support.daemon import wait_for
from support.postgres import PASSWORD as POSTGRES_PASSWORD
from support.postgres import Postgres, postgres
from support.redis import PASSWORD as REDIS_PASSWORD
from support.redis import Redis, redis
from support.seaweed import ACCESS_KEY, SECRET_KEY, Seaweed, seaweed

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root to mount")

Folders = pytest.TempPathFactory
RECORD = '{"id": "1"}'


@dataclass
class Kind:
    """`options` are for a volume of that name, in a place of its own below `far`."""

    backend: type[Backend]
    options: Callable[[Path, str], dict[str, str]]
    secrets: dict[str, str] = field(default_factory=dict)


@pytest.fixture(scope="module")
def storage(tmp_path_factory: Folders) -> Iterator[Seaweed]:
    with seaweed(tmp_path_factory.mktemp("elsewhere") / "weed") as found:
        found.make_bucket("contract")
        yield found


@pytest.fixture(scope="module")
def names(tmp_path_factory: Folders) -> Iterator[Redis]:
    with redis(tmp_path_factory.mktemp("elsewhere") / "redis") as found:
        yield found


@pytest.fixture(scope="module")
def rows() -> Iterator[Postgres]:
    with postgres() as found:
        yield found


@pytest.fixture(scope="module")
def cloud(storage: Seaweed) -> Kind:
    keys = {"access-key": ACCESS_KEY, "secret-key": "secret://cloud"}
    bucket = {"type": "s3", "endpoint": storage.endpoint, "bucket": "contract", **keys}
    return Kind(CloudBackend, lambda far, name: {**bucket, "path": f"{far.name}/{name}"}, {"cloud": SECRET_KEY})


@pytest.fixture(scope="module")
def smb(tmp_path_factory: Folders) -> Iterator[Kind]:
    with nas.samba(tmp_path_factory.mktemp("smb")) as server:
        yield _on(server)


@pytest.fixture(scope="module")
def sftp(tmp_path_factory: Folders) -> Iterator[Kind]:
    with nas.sftp(tmp_path_factory.mktemp("sftp")) as server:
        yield _on(server, str(server.data))


@pytest.fixture(scope="module")
def webdav(tmp_path_factory: Folders) -> Iterator[Kind]:
    with nas.webdav(tmp_path_factory.mktemp("dav")) as server:
        yield _on(server)


def _on(server: nas.Nas, top: str = "") -> Kind:
    def options(far: Path, name: str) -> dict[str, str]:
        path = Path(far.name, name)
        (server.data / path).mkdir(parents=True, exist_ok=True)
        return {**server.options, "path": str(Path(top, path))}

    return Kind(NasBackend, options, server.secrets)


@pytest.fixture(scope="module")
def juicefs_redis(names: Redis) -> Kind:
    known: dict[Path, int] = {}

    def options(far: Path, name: str) -> dict[str, str]:
        number = known.setdefault(far / name, len(known))
        word = {"meta": f"redis://127.0.0.1:{names.port}/{number}", "meta-password": "secret://redis"}
        return {**word, "name": f"fs-{name}", "bucket": str(far / name)}

    return Kind(JuicefsBackend, options, {"redis": REDIS_PASSWORD})


@pytest.fixture(scope="module")
def juicefs_postgres(rows: Postgres) -> Kind:
    known: dict[Path, str] = {}

    def options(far: Path, name: str) -> dict[str, str]:
        if far / name not in known:
            known[far / name] = f"trees{len(known)}"
            rows.make_database(known[far / name])
        word = {"meta": rows.url(known[far / name]), "meta-password": "secret://postgres"}
        return {**word, "name": f"fs-{name}", "bucket": str(far / name)}

    return Kind(JuicefsBackend, options, {"postgres": POSTGRES_PASSWORD})


class Elsewhere(VolumeFixtures):
    """What is common to drivers that mount what `kind` says."""

    kind: Kind
    far: Path

    @pytest.fixture
    def driver(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VolumeDriver]:
        self.kind = request.getfixturevalue(request.param)
        self.place, self.far = tmp_path, tmp_path / f"far-{new_id()[:12]}"
        self.opened: list[ServedVolumes | EncryptedVolumes] = []
        yield self.another()
        for entry in reversed(mounts_at_or_below(tmp_path)):
            unmount(entry.mount_point, MNT_DETACH)
        self.another().detach_others(())
        run = tmp_path / "run"
        wait_for("the programs to end", lambda: not any(run.glob("*/*/program.json")), 40)
        for one in self.opened:
            one.close()

    def options_of(self, name: str) -> dict[str, str]:
        return self.kind.options(self.far, name)

    def another(self) -> ServedVolumes | EncryptedVolumes:
        self.opened.append(self.opened_anew())
        return self.opened[-1]

    def opened_anew(self) -> ServedVolumes | EncryptedVolumes:
        raise NotImplementedError

    def reopened(self, driver: VolumeDriver) -> VolumeDriver:
        return self.another()

    def resolve(self, options: Mapping[str, str]) -> Mapping[str, str]:
        known = {f"secret://{name}": value for name, value in {**self.kind.secrets, "vault": "of the tests"}.items()}
        return {key: known.get(value, value) for key, value in options.items()}

    def served(self, place: str) -> ServedVolumes:
        return ServedVolumes(self.place / place, self.place / "run" / place, self.kind.backend(), self.resolve)


KINDS = ("cloud", "smb", "sftp", "webdav", "juicefs_redis", "juicefs_postgres")


@pytest.mark.parametrize("driver", KINDS, indirect=True)
class TestElsewhere(Elsewhere, VolumeDriverContract):
    def opened_anew(self) -> ServedVolumes:
        return self.served("volumes")


# What follows lies in what all kinds share, so it is tried on those that differ most.


@pytest.mark.parametrize("driver", ("cloud", "juicefs_postgres"), indirect=True)
class TestUsedElsewhere(Elsewhere, LastingUsesContract, RenamingContract):
    def opened_anew(self) -> ServedVolumes:
        return self.served("volumes")


@pytest.mark.parametrize("driver", ("cloud",), indirect=True)
class TestRemovedAndChangedElsewhere(Elsewhere, RetirementContract, SelfDescribingContract, ChangingContract):
    def opened_anew(self) -> ServedVolumes:
        return self.served("volumes")


@pytest.mark.parametrize("driver", ("cloud", "sftp", "juicefs_redis"), indirect=True)
class TestEncryptedElsewhere(Elsewhere):
    def opened_anew(self) -> EncryptedVolumes:
        below = {"below": self.served("below")}
        return EncryptedVolumes(self.place / "volumes", self.place / "run/encrypted", below, self.resolve, 10)

    def options_of(self, name: str) -> dict[str, str]:
        below = {"driver.key" if key == "key" else key: value for key, value in super().options_of(name).items()}
        return {**below, "key": "secret://vault", "driver": "below"}

    test_two_uses_see_the_same_bytes = VolumeDriverContract.test_two_uses_see_the_same_bytes
    test_a_use_outlives_the_daemon = VolumeDriverContract.test_a_use_outlives_the_daemon
    test_bytes_are_still_there_when_nobody_uses_them = (
        VolumeDriverContract.test_bytes_are_still_there_when_nobody_uses_them
    )
