"""The contract suite of network drivers: every driver's test file derives from it and says how to make one.

class TestBridge(NetworkDriverContract):
    @pytest.fixture
    def driver(self) -> Iterator[NetworkDriver]: ...     # opened, and cleaned up afterwards
    def reopened(self, driver) -> NetworkDriver: ...     # as a daemon started anew would have it
"""

import secrets
from pathlib import Path

from orlop.drivers.networks.driver import NetworkDriver
from orlop.model.network import HOST_NAMESPACE


class NetworkDriverContract:
    """Method names are the promises."""

    def reopened(self, driver: NetworkDriver) -> NetworkDriver:
        raise NotImplementedError

    def test_the_network_keeps_the_id_it_was_opened_with(self, driver: NetworkDriver) -> None:
        network = driver.network()
        assert network.name == driver.name
        assert self.reopened(driver).network().id == network.id != ""

    def test_an_attachment_names_its_network_and_has_an_id_of_its_own(self, driver: NetworkDriver) -> None:
        first, second = driver.join(_id()), driver.join(_id())
        assert (first.network, first.network_id) == (driver.name, driver.network().id)
        assert first.endpoint_id != second.endpoint_id
        assert len(first.endpoint_id) == 64

    def test_joining_twice_gives_the_same_answer(self, driver: NetworkDriver) -> None:
        container_id = _id()
        assert driver.join(container_id) == driver.join(container_id)
        assert list(driver.list_attached()) == [container_id]

    def test_leaving_twice_is_success(self, driver: NetworkDriver) -> None:
        container_id = _id()
        driver.join(container_id)
        driver.leave(container_id)
        driver.leave(container_id)
        assert list(driver.list_attached()) == []

    def test_leaving_without_having_joined_is_success(self, driver: NetworkDriver) -> None:
        driver.leave(_id())

    def test_who_has_left_may_join_again(self, driver: NetworkDriver) -> None:
        container_id = _id()
        driver.join(container_id)
        driver.leave(container_id)
        driver.join(container_id)
        assert list(driver.list_attached()) == [container_id]

    def test_the_sandbox_exists_while_somebody_is_in_it(self, driver: NetworkDriver) -> None:
        container_id = _id()
        sandbox = driver.join(container_id).sandbox_path
        if sandbox not in ("", HOST_NAMESPACE):
            assert Path(sandbox).exists()
            driver.leave(container_id)
            assert not Path(sandbox).exists()

    def test_restore_keeps_who_runs_and_forgets_the_others(self, driver: NetworkDriver) -> None:
        running, gone = _id(), _id()
        attachment = driver.join(running)
        driver.join(gone)
        again = self.reopened(driver)
        again.restore([(running, attachment)])
        assert list(again.list_attached()) == [running]
        assert again.join(running) == attachment

    def test_no_address_is_given_twice(self, driver: NetworkDriver) -> None:
        first = driver.join(_id())
        again = self.reopened(driver)
        again.restore([(_id(), first)])
        others = [again.join(_id()) for _ in range(3)]
        addresses = [attachment.address for attachment in [first, *others] if attachment.address]
        assert len(addresses) == len(set(addresses))

    def test_closing_leaves_a_running_container_its_network(self, driver: NetworkDriver) -> None:
        container_id = _id()
        attachment = driver.join(container_id)
        driver.close()
        assert list(driver.list_attached()) == [container_id]
        if attachment.sandbox_path not in ("", HOST_NAMESPACE):
            assert Path(attachment.sandbox_path).exists()


def _id() -> str:
    return secrets.token_hex(32)
