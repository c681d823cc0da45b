"""A driver that is installed and could not be loaded: there by its name, so that its volumes are unknown, not absent.

Every call says why, as something that may be well again later: whoever can wait for a driver waits.
"""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from orlop.drivers.volumes.driver import StoredVolume
from orlop.errors import Unavailable

log = logging.getLogger(__name__)


class UnloadedVolumes:
    scope = "local"

    def __init__(self, name: str, why: str) -> None:
        self.name = name
        self._why = why

    def _refuse(self, subject: str) -> NoReturn:
        hint = "Mend or uninstall the package, and start the daemon again"
        raise Unavailable(subject, f"the volume driver {self.name} is not loaded: {self._why}", hint)

    def check(self, name: str, options: Mapping[str, str]) -> None:
        self._refuse(f"create {name}")

    def create(self, name: str, options: Mapping[str, str], metadata: str) -> StoredVolume:
        self._refuse(f"create {name}")

    def discard(self, name: str) -> None:
        self._refuse(f"discard {name}")

    def get(self, name: str) -> StoredVolume:
        self._refuse(f"volume {name}")

    def list_volumes(self) -> Sequence[StoredVolume]:
        self._refuse("listing volumes")

    def remove(self, name: str) -> None:
        self._refuse(f"remove {name}")

    def attach(self, name: str, use_id: str) -> Path:
        self._refuse(f"attach {name}")

    def detach(self, name: str, use_id: str) -> None:
        """A container can end all the same: the driver hears of it when it is loaded again, with the uses that go
        on."""
        log.warning("volume %s stays attached: its driver %s is not loaded", name, self.name)
