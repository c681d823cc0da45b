"""/containers/{id}/exec and /exec: more processes in a running container."""

import asyncio
import contextlib

import msgspec

from orlop.docker.detach import parse_detach_keys
from orlop.docker.faults import fault_response
from orlop.docker.messages import Hijack, RawConnection, Reply, Request, Response, empty, json_response
from orlop.docker.packets import STDOUT, frame_head
from orlop.docker.pump import Pump, StreamChoice
from orlop.docker.router import Routes
from orlop.docker.routes.container_streams import stream_type
from orlop.docker.service import Service
from orlop.docker.translate.container_in import words
from orlop.docker.translate.container_out import inspect_exec
from orlop.docker.wire import container as wire
from orlop.engine.sessions import ExecWish
from orlop.errors import Conflict, Malformed, OrlopError

routes = Routes()

EXIT_SECONDS = 10  # how long a process that closed its output may go on before its client is let go


@routes.post("/containers/{id}/exec")
async def create_exec(service: Service, request: Request) -> Reply:
    body = await request.json(wire.ExecCreate)
    command = words(body.Cmd)
    if not command:
        raise Malformed("", "No exec command specified")
    parse_detach_keys(body.DetachKeys)
    height, width = _console_size(body.ConsoleSize)
    wish = ExecWish(
        command=command,
        env=tuple(body.Env or ()),
        user=body.User,
        workdir=body.WorkingDir,
        tty=body.Tty,
        attach_stdin=body.AttachStdin,
        attach_stdout=body.AttachStdout,
        attach_stderr=body.AttachStderr,
        privileged=body.Privileged,
        detach_keys=body.DetachKeys,
        console_height=height,
        console_width=width,
    )
    exec_id = await service.quick(service.engine.sessions.create_exec, request.parameters["id"], wish)
    return json_response({"Id": exec_id}, 201)


def _console_size(size: list[int] | None) -> tuple[int, int]:
    """[height, width]."""
    if not size:
        return 0, 0
    if len(size) != 2 or min(size) < 0:
        raise Malformed("", f"invalid ConsoleSize {size}", "It is [height, width]")
    return size[0], size[1]


@routes.post("/exec/{id}/start")
async def start_exec(service: Service, request: Request) -> Reply:
    body = await request.json(wire.ExecStart)
    sessions = service.engine.sessions
    exec_id = request.parameters["id"]
    found = sessions.get_exec(exec_id)
    if body.Detach:
        await service.long(sessions.start_exec, exec_id, True)
        return empty(200)
    if found.running or found.exit_code is not None:
        raise Conflict("", f"exec {exec_id} has already been run", "Create another one")
    wish = found.wish
    choice = StreamChoice(
        wish.attach_stdin, wish.attach_stdout, wish.attach_stderr, wish.tty, parse_detach_keys(wish.detach_keys)
    )

    async def run(client: RawConnection) -> None:
        try:
            attached = await service.long(sessions.start_exec, exec_id, False)
        except (OrlopError, OSError) as error:
            # Too late for a status: clients show what comes as output, then ask for the exec's exit code.
            client.write(_error_output(fault_response(error, f"exec {exec_id}"), wish.tty))
            return
        if attached is None:
            return
        pump = Pump(client, choice)
        pump.connect(attached.packets, attached.input)
        client.listen(pump)
        try:
            await pump.done
        finally:
            pump.stop()
        if not pump.client_left:
            # The connection ends only now: the exit code is the next thing that the client asks for.
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.wrap_future(sessions.exec_end(exec_id)), EXIT_SECONDS)

    return Hijack(stream_type(request, wish.tty), run)


def _error_output(fault: Response, tty: bool) -> bytes:
    message: str = msgspec.json.decode(fault.body)["message"]
    text = message.encode() + b"\r\n"
    return text if tty else frame_head(STDOUT, len(text)) + text


@routes.post("/exec/{id}/resize")
async def resize_exec(service: Service, request: Request) -> Reply:
    height, width = request.number("h"), request.number("w")
    await service.quick(service.engine.sessions.resize_exec, request.parameters["id"], height, width)
    return empty(200)


@routes.get("/exec/{id}/json")
def inspect(service: Service, request: Request) -> Reply:
    return json_response(inspect_exec(service.engine.sessions.get_exec(request.parameters["id"])))
