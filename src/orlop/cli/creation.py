"""Creating a container for `run` and `create`: the call, its warnings, the file with the id."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from orlop.cli.app import App
from orlop.cli.output import warn
from orlop.client.errors import ApiError, ClientError


def create_container(app: App, flags: Mapping[str, Any], body: dict[str, Any]) -> str:
    """The new container's id. Raises ClientError with exit status 125."""
    cidfile = Path(flags["cidfile"]) if flags["cidfile"] else None
    if cidfile is not None and cidfile.exists():
        raise ClientError(f"--cidfile {cidfile}: it exists already; it may name a running container", 125)
    try:
        answer = app.api.post("/containers/create", {"name": flags["name"], "platform": flags["platform"]}, body)
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
    if cidfile is not None:
        cidfile.write_text(identifier, encoding="ascii")
    return identifier
