"""What the contract suites of volume drivers have in common: how a volume is made, written and read."""

import secrets

from orlop.drivers.volumes.driver import StoredVolume, VolumeDriver

RECORD = '{"id": "1"}'


def new_id() -> str:
    return secrets.token_hex(32)


def names(driver: VolumeDriver) -> list[str]:
    return sorted(stored.name for stored in driver.list_volumes())


class VolumeFixtures:
    options: dict[str, str] = {}  # what `create` is given
    other_options: dict[str, str] | None = None  # what `change` is given; None: the same again

    # Traits
    outlives_its_uses = True  # False: what is in it is gone with its last user (memory)
    holds_its_bytes = True  # False: the volume only leads to them (a disk, a directory of the host, a server)
    undoes_creation = True  # False: whether somebody wrote to it cannot be told, so what was made stays
    own_entries: frozenset[str] = frozenset()  # what is in a new one already
    top_mode: int | None = None  # what its options give its top directory, whatever is copied in

    def options_of(self, name: str) -> dict[str, str]:
        """Where each volume needs options of its own."""
        return self.options

    def lasting(self, text: str) -> str:
        """What is read again when nobody used the volume in between."""
        return text if self.outlives_its_uses else ""

    def reopened(self, driver: VolumeDriver) -> VolumeDriver:
        raise NotImplementedError

    def made(self, driver: VolumeDriver, name: str = "data") -> StoredVolume:
        return driver.create(name, self.options_of(name), RECORD)

    def written(self, driver: VolumeDriver, name: str = "data", text: str = "kept") -> None:
        use = new_id()
        (driver.attach(name, use) / "note").write_text(text)
        driver.detach(name, use)

    def read(self, driver: VolumeDriver, name: str = "data") -> str:
        """ "" when nothing was written."""
        use = new_id()
        try:
            return (driver.attach(name, use) / "note").read_text()
        except FileNotFoundError:
            return ""
        finally:
            driver.detach(name, use)
