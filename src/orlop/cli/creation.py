"""Creating a container for `run` and `create`: the call, its warnings, the file with the id."""

import os
from collections.abc import Callable, Mapping
from typing import Any

from orlop.cli.app import App
from orlop.cli.output import warn
from orlop.client.errors import ApiError, ClientError


def create_container(
    app: App, flags: Mapping[str, Any], body: dict[str, Any], meanwhile: Callable[[], object] | None = None
) -> str:
    """The new container's id. Raises ClientError with exit status 125. `meanwhile` runs while the daemon works."""
    cidfile = flags["cidfile"]
    if cidfile and os.path.lexists(cidfile):
        raise ClientError(f"--cidfile {cidfile}: it exists already; it may name a running container", 125)
    try:
        query = {"name": flags["name"], "platform": flags["platform"]}
        answer = app.api.call("POST", "/containers/create", query, body, meanwhile)
    except ApiError as error:
        if error.status == 404 and "No such image" in error.message:
            image = body["Image"]
            raise ClientError(
                f"there is no image {image!r} here. Registries come later: bring it in by `orlop load` "
                "or `orlop import`; `orlop images` lists what there is",
                125,
            ) from error
        raise ClientError(error.message, 125) from error
    for warning in answer.get("Warnings") or []:
        warn(f"warning: {warning}")
    identifier = str(answer["Id"])
    if cidfile:
        with open(cidfile, "x", encoding="ascii") as file:  # noqa: PTH123 (pathlib costs as much as the whole call)
            file.write(identifier)
    return identifier
