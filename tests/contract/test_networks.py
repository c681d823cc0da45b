"""Every network driver keeps the contract."""

import os
import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from orlop.drivers.networks.bridge import BridgeDriver
from orlop.drivers.networks.driver import NetworkDriver
from orlop.drivers.networks.host import HostDriver
from orlop.drivers.networks.none import NoneDriver
from orlop.model.network import Network
from orlop.testing.networks import NetworkDriverContract

NETWORK_ID = "ab" * 32


def opened(driver: NetworkDriver, remembered: Network | None = None) -> NetworkDriver:
    driver.open(remembered or Network(driver.name, NETWORK_ID, driver.name, 1))
    return driver


class TestNone(NetworkDriverContract):
    @pytest.fixture
    def driver(self) -> NetworkDriver:
        return opened(NoneDriver())

    def reopened(self, driver: NetworkDriver) -> NetworkDriver:
        return opened(NoneDriver(), driver.network())


class TestHost(NetworkDriverContract):
    @pytest.fixture
    def driver(self) -> NetworkDriver:
        return opened(HostDriver())

    def reopened(self, driver: NetworkDriver) -> NetworkDriver:
        return opened(HostDriver(), driver.network())


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: sudo script/test")
class TestBridge(NetworkDriverContract):
    @pytest.fixture
    def driver(self, tmp_path: Path) -> Iterator[NetworkDriver]:
        self.places = (f"oct{secrets.token_hex(4)}", tmp_path / "netns")
        bridge = BridgeDriver(*self.places)
        opened(bridge)
        yield bridge
        bridge.remove()

    def reopened(self, driver: NetworkDriver) -> NetworkDriver:
        return opened(BridgeDriver(*self.places), driver.network())
