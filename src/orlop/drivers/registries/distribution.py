"""Registries that speak the OCI distribution protocol, as Docker's own does (version 2)."""

import hashlib
import http.client
import json
import logging
import re
from pathlib import Path
from typing import IO
from urllib.parse import urlencode

from orlop.drivers.registries.driver import Credentials, Descriptor, Manifest, Progress
from orlop.drivers.registries.transport import Transport, read_all
from orlop.errors import Forbidden, HostFailure, Malformed, NotFound, OrlopError, Unavailable
from orlop.model.reference import Reference

log = logging.getLogger(__name__)

_MANIFESTS = (
    "application/vnd.docker.distribution.manifest.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
)
_LONGEST_MANIFEST = 4 << 20
_CHUNK = 1 << 20
_DIGEST = re.compile("sha256:[0-9a-f]{64}")


class Distribution:
    """Thread-safe: each call has connections of its own."""

    def get_manifest(self, reference: Reference, credentials: Credentials) -> Manifest:
        subject = f"fetching {reference.familiar}"
        wanted = reference.digest or reference.tag
        transport = Transport(reference.domain, reference.path, "pull", credentials)
        answer = transport.request("GET", f"/v2/{reference.path}/manifests/{wanted}", {"Accept": ", ".join(_MANIFESTS)})
        try:
            _require(answer, (http.client.OK,), subject, reference)
            raw = read_all(answer, subject, _LONGEST_MANIFEST)
            media_type = (answer.headers.get("Content-Type") or "").partition(";")[0].strip()
        finally:
            answer.close()
        digest = f"sha256:{hashlib.sha256(raw).hexdigest()}"
        if reference.digest and reference.digest != digest:
            raise Malformed(subject, f"the registry sent {digest} in the place of {reference.digest}")
        return Manifest(media_type, digest, raw)

    def get_blob(
        self,
        reference: Reference,
        blob: Descriptor,
        target: Path,
        credentials: Credentials,
        progress: Progress | None = None,
    ) -> None:
        subject = f"fetching {blob.digest[:19]} of {reference.familiar}"
        if not _DIGEST.fullmatch(blob.digest):
            raise Malformed(subject, f"{blob.digest!r} is no digest")
        transport = Transport(reference.domain, reference.path, "pull", credentials)
        answer = transport.request("GET", f"/v2/{reference.path}/blobs/{blob.digest}")
        try:
            _require(answer, (http.client.OK,), subject, reference)
            with target.open("xb") as file:
                _receive(answer, blob, file, subject, progress)
        except (http.client.HTTPException, TimeoutError, ConnectionError) as error:
            raise Unavailable(subject, f"the registry sent only a part of it: {error}", "Try again") from error
        except OSError as error:
            raise HostFailure(subject, error.strerror or str(error)) from error
        finally:
            answer.close()

    def put_blob(
        self,
        reference: Reference,
        blob: Descriptor,
        source: Path,
        credentials: Credentials,
        progress: Progress | None = None,
    ) -> bool:
        subject = f"sending {blob.digest[:19]} to {reference.familiar_name}"
        transport = Transport(reference.domain, reference.path, "push,pull", credentials)
        there = transport.request("HEAD", f"/v2/{reference.path}/blobs/{blob.digest}")
        there.close()
        if there.status == http.client.OK:
            return False
        begun = transport.request("POST", f"/v2/{reference.path}/blobs/uploads/", {"Content-Length": "0"}, b"")
        try:
            _require(begun, (http.client.ACCEPTED,), subject, reference)
            place = begun.headers.get("Location") or ""
        finally:
            begun.close()
        place += ("&" if "?" in place else "?") + urlencode({"digest": blob.digest})
        headers = {"Content-Type": "application/octet-stream", "Content-Length": str(blob.size)}
        with source.open("rb") as file:
            sent = transport.request("PUT", place, headers, _Told(file, blob.size, progress))  # type: ignore[arg-type]
        try:
            _require(sent, (http.client.CREATED,), subject, reference)
        finally:
            sent.close()
        return True

    def put_manifest(self, reference: Reference, manifest: Manifest, credentials: Credentials) -> None:
        transport = Transport(reference.domain, reference.path, "push,pull", credentials)
        place = f"/v2/{reference.path}/manifests/{reference.tag or manifest.digest}"
        answer = transport.request("PUT", place, {"Content-Type": manifest.media_type}, manifest.raw)
        try:
            _require(answer, (http.client.CREATED,), f"pushing {reference.familiar}", reference)
        finally:
            answer.close()


class _Told:
    """A file that tells how much of it has been read."""

    def __init__(self, file: IO[bytes], size: int, progress: Progress | None) -> None:
        self._file = file
        self._size = size
        self._progress = progress

    def seek(self, offset: int) -> int:
        return self._file.seek(offset)

    def read(self, count: int = -1) -> bytes:
        data = self._file.read(_CHUNK if count < 0 else max(count, _CHUNK))
        if self._progress and data:
            self._progress(self._file.tell(), self._size)
        return data


def _receive(
    answer: http.client.HTTPResponse, blob: Descriptor, file: IO[bytes], subject: str, progress: Progress | None
) -> None:
    sha256 = hashlib.sha256()
    done = 0
    while data := answer.read(min(_CHUNK, blob.size - done + 1)):
        done += len(data)
        if done > blob.size:
            raise Malformed(subject, f"the registry sends more than the {blob.size} bytes that it announced")
        sha256.update(data)
        file.write(data)
        if progress:
            progress(done, blob.size)
    found = f"sha256:{sha256.hexdigest()}"
    if done != blob.size:
        raise Unavailable(subject, f"the registry sent {done} of {blob.size} bytes", "Try again")
    if found != blob.digest:
        raise Malformed(subject, f"what came is not what was asked for: its digest is {found}")


def _require(answer: http.client.HTTPResponse, wanted: tuple[int, ...], subject: str, reference: Reference) -> None:
    """Raises what the registry said otherwise."""
    if answer.status in wanted:
        return
    said = _complaint(read_all(answer, subject))
    raise _failure(answer.status, said, subject, reference)


def _failure(status: int, said: str, subject: str, reference: Reference) -> OrlopError:
    where = f"the registry {reference.domain} says: {said or http.client.responses.get(status, str(status))}"
    if status == http.client.NOT_FOUND:
        return NotFound(subject, where)
    if status in (http.client.UNAUTHORIZED, http.client.FORBIDDEN):
        return Forbidden(subject, where, f"Log in: docker login {reference.domain}")
    if status >= 500 or status == http.client.TOO_MANY_REQUESTS:
        return Unavailable(subject, where, "Try again later")
    return HostFailure(subject, where)


def _complaint(raw: bytes) -> str:
    """The words of {"errors": [{"code": ..., "message": ...}]}, or the beginning of whatever else it is."""
    try:
        found = json.loads(raw)["errors"]
        return "; ".join(f"{each.get('code', '')}: {each.get('message', '')}" for each in found)[:500]
    except (ValueError, KeyError, TypeError, AttributeError):
        return raw[:200].decode(errors="replace").strip()
