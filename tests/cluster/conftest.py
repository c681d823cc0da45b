"""Several hosts on one machine, shared by the tests of a module: see support/hosts.py."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from support.hosts import Hosts
from support.shared_tree import SharedTree, shared_tree


@pytest.fixture(scope="module")
def hosts(tmp_path_factory: pytest.TempPathFactory, docker_command: Path) -> Iterator[Hosts]:
    """With etcd and a SAN that run, and no host yet."""
    made = Hosts(tmp_path_factory.mktemp("hosts"), docker_command)
    try:
        made.etcd.start()
        made.san.start()
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def tree(hosts: Hosts, tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedTree]:
    with shared_tree(hosts, tmp_path_factory.mktemp("tree")) as found:
        yield found
