"""What every command gets: the daemon's API, connected at the first call."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from orlop.client.api import Api


class App:
    def __init__(self, host: str = "") -> None:
        self.host = host
        self._api: Api | None = None

    @property
    def api(self) -> "Api":
        if self._api is None:
            from orlop.client.address import from_environment
            from orlop.client.api import Api

            self._api = Api(from_environment(self.host))
        return self._api
