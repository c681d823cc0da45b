"""`inspect`, for every kind of object: find each by name or id, print one JSON array."""

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from orlop.cli.app import App
from orlop.cli.declaring import option
from orlop.cli.output import print_json, print_lines, warn
from orlop.client.api import quote
from orlop.client.errors import ApiError, ClientError

PATHS = {
    "container": "/containers/{}/json",
    "image": "/images/{}/json",
    "volume": "/volumes/{}",
    "network": "/networks/{}",
}


template_option = option(
    "-f", "--format", "template", default="json", metavar="FORMAT",
    help="json, or a path such as {{.State.Status}}: only that value.",
)  # fmt: skip


def inspect_all(app: App, names: Iterable[str], kinds: Sequence[str], template: str, size: bool = False) -> int:
    """Print all that were found; report the others. 1 when any was not."""
    render = _parse_template(template)
    found: list[Any] = []
    status = 0
    for name in names:
        try:
            found.append(_find(app, name, kinds, size))
        except ApiError as error:
            if error.status >= 500:
                raise
            warn(error.message)
            status = 1
    if render is None:
        print_json(found)
    else:
        print_lines(render(item) for item in found)
    return status


def _find(app: App, name: str, kinds: Sequence[str], size: bool) -> Any:
    for kind in kinds:
        try:
            return app.api.get(PATHS[kind].format(quote(name)), {"size": size} if kind == "container" else None)
        except ApiError as error:
            if error.status != 404 or len(kinds) == 1:
                raise
    raise ApiError(404, f"No such object: {name}")


def _parse_template(template: str) -> Callable[[Any], str] | None:
    """`{{.A.B}}` and `{{json .A}}`, nothing more of Go's templates. None for json."""
    if template in ("", "json"):
        return None
    inner = template.strip()
    if not (inner.startswith("{{") and inner.endswith("}}") and inner.count("{{") == 1):
        raise _unknown(template)
    inner = inner[2:-2].strip()
    as_json = inner.startswith("json ")
    path = inner.removeprefix("json ").strip()
    if not path.startswith(".") or any(letter in path for letter in ' |()$"'):
        raise _unknown(template)
    keys = [key for key in path.split(".") if key]

    def render(item: Any) -> str:
        for key in keys:
            if not isinstance(item, dict) or key not in item:
                raise ClientError(f"{template}: there is no {key!r} here")
            item = item[key]
        if as_json or isinstance(item, dict | list):
            return json.dumps(item, ensure_ascii=False)
        if isinstance(item, bool):
            return "true" if item else "false"
        return "<no value>" if item is None else str(item)

    return render


def _unknown(template: str) -> ClientError:
    return ClientError(
        f"--format {template!r} is not understood: use json, or one path such as {{{{.State.Status}}}}", 125
    )
