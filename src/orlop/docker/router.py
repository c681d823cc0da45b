"""From method and path to a route.

A template names its parameters: "/volumes/{name}" where the name may contain slashes (plugins' volumes and images
have them). A route younger than the version asked for answers 400, an unknown path or method 404, as dockerd does.
"""

import re
from collections.abc import Callable, Iterable, Mapping

from orlop.docker.messages import ApiVersion, Handler
from orlop.docker.versions import render_version
from orlop.errors import Malformed, NotFound
from orlop.model.value import dataclass

_CACHED = 4096


@dataclass(frozen=True, slots=True)
class Route:
    method: str
    template: str
    handler: Handler
    since: ApiVersion = (0, 0)

    def pattern(self) -> "re.Pattern[str]":
        parts = re.split(r"\{(\w+)\}", self.template)
        text = "".join(f"(?P<{part}>.*)" if index % 2 else re.escape(part) for index, part in enumerate(parts))
        return re.compile(text, re.DOTALL)


class Routes:
    """The routes of one noun; each module in routes/ fills one."""

    def __init__(self) -> None:
        self.all: list[Route] = []

    def get(self, template: str, since: ApiVersion = (0, 0)) -> Callable[[Handler], Handler]:
        return self._add("GET", template, since)

    def head(self, template: str, since: ApiVersion = (0, 0)) -> Callable[[Handler], Handler]:
        return self._add("HEAD", template, since)

    def post(self, template: str, since: ApiVersion = (0, 0)) -> Callable[[Handler], Handler]:
        return self._add("POST", template, since)

    def put(self, template: str, since: ApiVersion = (0, 0)) -> Callable[[Handler], Handler]:
        return self._add("PUT", template, since)

    def delete(self, template: str, since: ApiVersion = (0, 0)) -> Callable[[Handler], Handler]:
        return self._add("DELETE", template, since)

    def _add(self, method: str, template: str, since: ApiVersion) -> Callable[[Handler], Handler]:
        def register(handler: Handler) -> Handler:
            self.all.append(Route(method, template, handler, since))
            return handler

        return register


Found = tuple[Handler, Mapping[str, str], ApiVersion, str]


class Router:
    def __init__(self, tables: Iterable[Routes]) -> None:
        self.routes = [route for table in tables for route in table.all]
        self._by_start: dict[tuple[str, str], list[Route]] = {}
        for route in self.routes:
            self._by_start.setdefault(_start(route.method, route.template), []).append(route)
        self._patterns: dict[Route, re.Pattern[str]] = {}  # made when first wanted: a start need not wait for them
        self._cache: dict[tuple[str, str], Found] = {}

    def find(self, method: str, path: str, version: ApiVersion) -> tuple[Handler, Mapping[str, str]]:
        """The handler and the path's parameters. Raises NotFound, Malformed."""
        found = self._cache.get((method, path))
        if found is None:
            found = self._search(method, path)
            if len(self._cache) >= _CACHED:
                self._cache.clear()
            self._cache[method, path] = found
        handler, parameters, since, template = found
        if version < since:
            shown = template.replace("}", ":.*}")  # as dockerd spells its templates
            raise Malformed("", f"{method} {shown} requires minimum API version {render_version(since)}")
        return handler, parameters

    def _search(self, method: str, path: str) -> Found:
        for route in self._by_start.get(_start(method, path), ()):
            pattern = self._patterns.get(route)
            if pattern is None:
                pattern = self._patterns[route] = route.pattern()
            if match := pattern.fullmatch(path):
                return route.handler, match.groupdict(), route.since, route.template
        raise NotFound("", "page not found")


def _start(method: str, path: str) -> tuple[str, str]:
    """What a look-up begins with: the method and the path's first part."""
    return method, path.split("/", 2)[1] if path.startswith("/") else path
