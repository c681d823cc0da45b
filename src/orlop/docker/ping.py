"""The answer to `/_ping`: known before anything else is, since clients ask for it first of all."""

from orlop.docker.messages import Response

PATH = "/_ping"

PONG = Response(
    200,
    b"OK",
    "text/plain; charset=utf-8",
    {
        "Builder-Version": "1",
        "Swarm": "inactive",
        "Cache-Control": "no-cache, no-store, must-revalidate",
        "Pragma": "no-cache",
    },
)
