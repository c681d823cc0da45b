"""Every volume driver by name: those that are built in, and those of others, found when somebody asks for them.

`name:latest` is `name`. Neither finding one nor going through all of them waits for anybody: what it takes to reach a
driver is done when it is used.
"""

from collections.abc import Iterator, Mapping

from orlop.drivers.volumes.driver import DriverSource, VolumeDriver


class VolumeDrivers(Mapping[str, VolumeDriver]):
    """Going through it shows those of the moment. A built-in one goes before any other of its name."""

    def __init__(self, built_in: Mapping[str, VolumeDriver], source: DriverSource | None = None) -> None:
        self._built_in = dict(built_in)
        self._source = source

    def __getitem__(self, name: str) -> VolumeDriver:
        found = self._built_in.get(name) or self._built_in.get(name.removesuffix(":latest"))
        if found is None and self._source is not None:
            found = self._source.find(name)
        if found is None:
            raise KeyError(name)
        return found

    def __iter__(self) -> Iterator[str]:
        others = self._source.names() if self._source is not None else ()
        return iter([*self._built_in, *(name for name in others if name not in self._built_in)])

    def __len__(self) -> int:
        return sum(1 for _ in self)
