"""HTTP to one registry: which scheme, who asks, where redirects may lead.

Plain HTTP goes to loopback only, where nobody listens in; there a certificate need not be anybody's, either. Everywhere
else it is HTTPS with a certificate that the host trusts, for redirects and for those who give out tokens, too.

A registry says by a 401 how it wants to be asked: with name and password (Basic), or with a token of somebody it names
(Bearer). One `Transport` does one errand for one user, so that a token is asked for once.
"""

import base64
import http.client
import ipaddress
import json
import re
import ssl
from collections.abc import Mapping
from typing import IO
from urllib.parse import urlencode, urljoin, urlsplit

from orlop.drivers.registries.driver import Credentials
from orlop.errors import Forbidden, HostFailure, Malformed, Unavailable

_SECONDS = 60.0  # without a byte
_MOST_REDIRECTS = 5
_LONGEST_ANSWER = 4 << 20
_HUB, _HUB_HOST = "docker.io", "registry-1.docker.io"
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')

Headers = Mapping[str, str]


class Transport:
    """Not thread-safe. `scope` is what a token is to allow: "pull" or "push,pull"."""

    def __init__(self, domain: str, repository: str, scope: str, credentials: Credentials) -> None:
        self.domain = domain
        self._host = _HUB_HOST if domain == _HUB else domain
        self._repository = repository
        self._scope = scope
        self._credentials = credentials
        self._authorization = f"Bearer {credentials.registry_token}" if credentials.registry_token else ""
        self._scheme = ""

    def request(
        self, method: str, path: str, headers: Headers | None = None, body: IO[bytes] | bytes | None = None
    ) -> http.client.HTTPResponse:
        """`path` may be a whole address that the registry gave out before. The caller reads and closes the answer."""
        address = urljoin(f"{self._base()}/", path)
        answer = self._ask(method, address, headers or {}, body)
        if answer.status == http.client.UNAUTHORIZED and not self._authorization:
            challenge = answer.headers.get_all("WWW-Authenticate") or []
            answer.close()
            self._authorization = self._authorize(challenge)
            if isinstance(body, bytes) or body is None:
                answer = self._ask(method, address, headers or {}, body)
            else:
                body.seek(0)
                answer = self._ask(method, address, headers or {}, body)
        return answer

    def _base(self) -> str:
        if not self._scheme:
            self._scheme = "http" if is_loopback(self._host) and not self._speaks_tls() else "https"
        return f"{self._scheme}://{self._host}"

    def _speaks_tls(self) -> bool:
        connection = self._connection("https", self._host)
        try:
            connection.connect()
        except ssl.SSLError:
            return False
        except OSError as error:
            raise self._unreached(error) from error
        finally:
            connection.close()
        return True

    def _ask(
        self, method: str, address: str, headers: Headers, body: IO[bytes] | bytes | None
    ) -> http.client.HTTPResponse:
        own = urlsplit(address)[:2]
        for _ in range(_MOST_REDIRECTS):
            parts = urlsplit(address)
            sent = {"User-Agent": "orlop", **headers}
            if self._authorization and parts[:2] == own:  # nobody else is told who asks
                sent["Authorization"] = self._authorization
            answer = self._send(method, address, sent, body)
            if answer.status not in (301, 302, 303, 307, 308) or method not in ("GET", "HEAD"):
                return answer
            address = urljoin(address, answer.headers.get("Location", ""))
            answer.close()
        raise Unavailable(f"registry {self.domain}", f"it led on from place to place {_MOST_REDIRECTS} times")

    def _send(
        self, method: str, address: str, headers: Headers, body: IO[bytes] | bytes | None
    ) -> http.client.HTTPResponse:
        parts = urlsplit(address)
        if parts.scheme not in ("http", "https") or (parts.scheme == "http" and not is_loopback(parts.netloc)):
            why = f"it leads to {parts.scheme}://{parts.netloc}, and plain HTTP goes to loopback only"
            raise Forbidden(f"registry {self.domain}", why)
        connection = self._connection(parts.scheme, parts.netloc)
        try:
            connection.request(method, parts.path + (f"?{parts.query}" if parts.query else ""), body, dict(headers))
            answer = connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise self._unreached(error) from error
        answer_close = answer.close

        def close() -> None:
            answer_close()
            connection.close()

        answer.close = close  # type: ignore[method-assign]
        return answer

    def _connection(self, scheme: str, netloc: str) -> http.client.HTTPConnection:
        if scheme == "http":
            return http.client.HTTPConnection(netloc, timeout=_SECONDS)
        context = ssl.create_default_context()
        if is_loopback(netloc):
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return http.client.HTTPSConnection(netloc, timeout=_SECONDS, context=context)

    def _unreached(self, error: Exception) -> Unavailable:
        why = str(getattr(error, "strerror", None) or error or type(error).__name__)
        return Unavailable(f"registry {self.domain}", f"it cannot be reached: {why}", "Check its name and that it runs")

    # Who asks

    def _authorize(self, challenges: list[str]) -> str:
        for challenge in challenges:
            scheme, _, rest = challenge.partition(" ")
            words = dict(_CHALLENGE.findall(rest))
            if scheme.lower() == "bearer" and words.get("realm"):
                return f"Bearer {self._token(words)}"
            if scheme.lower() == "basic" and self._credentials.user:
                return self._basic()
        raise self._refused()

    def _basic(self) -> str:
        both = f"{self._credentials.user}:{self._credentials.password}"
        return f"Basic {base64.b64encode(both.encode()).decode()}"

    def _token(self, words: Mapping[str, str]) -> str:
        scope = f"repository:{self._repository}:{self._scope}"
        wish = {"service": words.get("service", ""), "scope": scope}
        headers: dict[str, str] = {}
        if self._credentials.identity_token:
            secret = {"grant_type": "refresh_token", "refresh_token": self._credentials.identity_token}
            body = urlencode({**wish, **secret, "client_id": "orlop"}).encode()
            headers["Content-Type"] = "application/x-www-form-urlencoded"
            answer = self._send("POST", words["realm"], headers, body)
        else:
            if self._credentials.user:
                headers["Authorization"] = self._basic()
            answer = self._send("GET", f"{words['realm']}?{urlencode(wish)}", headers, None)
        try:
            if answer.status != http.client.OK:
                raise self._refused()
            found = json.loads(read_all(answer, f"registry {self.domain}"))
            return str(found.get("token") or found["access_token"])
        except (ValueError, KeyError, AttributeError) as error:
            raise Malformed(f"registry {self.domain}", "what should be a token is none") from error
        finally:
            answer.close()

    def _refused(self) -> Forbidden:
        return Forbidden(
            f"registry {self.domain}", "unauthorized: authentication required", f"Log in: docker login {self.domain}"
        )


def read_all(answer: http.client.HTTPResponse, subject: str, limit: int = _LONGEST_ANSWER) -> bytes:
    """A short answer as a whole."""
    try:
        data = answer.read(limit + 1)
    except (OSError, http.client.HTTPException) as error:
        raise Unavailable(subject, f"its answer was cut off: {error}") from error
    if len(data) > limit:
        raise HostFailure(subject, f"its answer is longer than {limit >> 20} MiB")
    return data


def is_loopback(netloc: str) -> bool:
    """By its name or address; no name is looked up but `localhost`."""
    try:
        host = urlsplit(f"//{netloc}").hostname or ""
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
