"""/orlop/v1/secrets: what options of volumes name instead of passwords. (Docker's /secrets are a swarm's.)"""

import base64
import binascii

import msgspec

from orlop.docker.messages import Reply, Request, empty, json_response
from orlop.docker.router import Routes
from orlop.docker.service import Service
from orlop.docker.wire.times import render_time
from orlop.errors import Malformed
from orlop.model.secret import Secret

routes = Routes()


class SecretCreate(msgspec.Struct):
    """`Data` is base64, as in Docker's secrets."""

    Name: str = ""
    Data: str = ""
    Replace: bool = False


def show_secret(secret: Secret) -> dict[str, object]:
    return {"Name": secret.name, "CreatedAt": render_time(secret.created_at_ns), "UsedBy": list(secret.used_by)}


@routes.get("/orlop/v1/secrets")
async def list_secrets(service: Service, request: Request) -> Reply:
    found = await service.quick(service.engine.secrets.list_secrets)
    return json_response({"Secrets": [show_secret(each) for each in found]})


@routes.post("/orlop/v1/secrets/create")
async def create_secret(service: Service, request: Request) -> Reply:
    wish = await request.json(SecretCreate)
    try:
        value = base64.b64decode(wish.Data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed(f"secret {wish.Name}", "Data is not base64") from error
    made = await service.quick(service.engine.secrets.create, wish.Name, value, wish.Replace)
    return json_response(show_secret(made), 201)


@routes.delete("/orlop/v1/secrets/{name}")
async def remove_secret(service: Service, request: Request) -> Reply:
    await service.quick(service.engine.secrets.remove, request.parameters["name"])
    return empty()
