"""A JuiceFS that all hosts reach: its names in Redis, its data in SeaweedFS, both in the network of the hosts."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from support.hosts import WITH_US, Host, Hosts
from support.redis import PASSWORD, Redis, redis
from support.seaweed import ACCESS_KEY, SECRET_KEY, Seaweed, seaweed

SECRETS = {"redis": PASSWORD, "s3id": ACCESS_KEY, "s3key": SECRET_KEY}
_BUCKET = "trees"
_NUMBERS = {"names": 31, "objects": 32}  # of their addresses


@dataclass(frozen=True)
class SharedTree:
    names: Redis
    storage: Seaweed

    @property
    def options(self) -> list[str]:
        """For `docker volume create`."""
        given = {
            "meta": self.names.url(1),
            "meta-password": "secret://redis",
            "name": "tree",
            "bucket": f"{self.storage.endpoint}/{_BUCKET}",
            "access-key": "secret://s3id",
            "secret-key": "secret://s3key",
        }
        return ["-d", "juicefs", *(word for key, value in given.items() for word in ("-o", f"{key}={value}"))]


def give_secrets(host: Host) -> None:
    for name, value in SECRETS.items():
        host.orlop("secret", "create", "--force", name, stdin=value)


@contextmanager
def shared_tree(hosts: Hosts, place: Path) -> Iterator[SharedTree]:
    network = hosts.network
    own = {name: network.join(name, number) for name, number in _NUMBERS.items()}
    prefix = {name: [*WITH_US, *network.prefix(name)] for name in own}
    with (
        redis(place / "redis", address=own["names"], prefix=prefix["names"]) as names,
        seaweed(place / "weed", address=own["objects"], prefix=prefix["objects"]) as storage,
    ):
        storage.make_bucket(_BUCKET)
        yield SharedTree(names, storage)
