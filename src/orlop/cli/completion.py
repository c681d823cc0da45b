"""Names for the shell's completion, asked of the daemon. A daemon that does not answer completes nothing."""

import click

from orlop.cli.app import App
from orlop.client.errors import ClientError


def complete(context: click.Context, parameter: click.Parameter, begun: str) -> list[str]:
    """The names that an argument may have, by its metavar."""
    kind = str(parameter.metavar or "").strip("[].")
    root = context.find_root()
    try:
        names = _names(App(str(root.params.get("host") or "")), kind)
    except (ClientError, OSError):
        return []
    return sorted(name for name in names if name.startswith(begun))


def _names(app: App, kind: str) -> list[str]:
    if kind.startswith("CONTAINER"):
        return [_plain(name) for it in app.api.get("/containers/json", {"all": True}) for name in it["Names"] or []]
    if kind.startswith("IMAGE"):
        return [name for it in app.api.get("/images/json") for name in it.get("RepoTags") or []]
    if kind.startswith("VOLUME"):
        return [it["Name"] for it in app.api.get("/volumes")["Volumes"] or []]
    if kind.startswith("NETWORK"):
        return [it["Name"] for it in app.api.get("/networks")]
    if kind.startswith("REMOVED"):
        return [it["Name"] for it in app.api.get("/orlop/v1/volumes/retired")["Retired"] or []]
    return []


def _plain(name: str) -> str:
    return name.lstrip("/")
