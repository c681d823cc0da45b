"""The heads of requests and replies: httptools reads the one, plain formatting writes the other."""

from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import unquote

import httptools

from orlop.errors import Malformed

_REASONS = {status.value: f"HTTP/1.1 {status.value} {status.phrase}\r\n".encode() for status in HTTPStatus}
_ONLY_ONCE = frozenset({"content-length", "host", "transfer-encoding"})
_MOST_REMEMBERED = 1024  # bytes; a head like the last one need not be read again


class RequestHead:
    __slots__ = ("content_length", "headers", "http_10", "is_chunked", "keep_alive", "method", "path", "query")

    def __init__(self, method: str, url: str, headers: Mapping[str, str], http_10: bool, keep_alive: bool) -> None:
        """Raises Malformed for a body whose end could be seen in two places."""
        path, _, self.query = url.partition("?")
        if not path.startswith("/"):  # absolute form, as to a proxy
            path = "/" + path.partition("://")[2].partition("/")[2]
        self.method = method
        self.path = unquote(path) if "%" in path else path
        self.headers = headers
        self.http_10 = http_10
        self.keep_alive = keep_alive
        length = headers.get("content-length", "0").strip()
        self.is_chunked = "transfer-encoding" in headers
        if self.is_chunked and (headers["transfer-encoding"].lower() != "chunked" or "content-length" in headers):
            raise Malformed("", "a body is either chunked or has a Content-Length")
        if not (length.isascii() and length.isdigit() and len(length) < 19):
            raise Malformed("", f"Content-Length {length[:40]!r} is no length")
        self.content_length = int(length)

    @property
    def has_body(self) -> bool:
        return self.is_chunked or self.content_length > 0

    @property
    def expects_continue(self) -> bool:
        return self.headers.get("expect", "").lower() == "100-continue"


class HeadReader:
    """Reads one head after the other. It is given each whole, with the empty line that ends it.

    A client that asks the same thing again sends the same head, byte for byte: what the last one said is known."""

    def __init__(self) -> None:
        self._last: tuple[bytes, RequestHead] | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._headers: dict[str, str] = {}
        self._url = b""

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        key = name.decode("latin-1").lower()
        if key not in self._headers:
            self._headers[key] = value.decode("latin-1")
        elif key in _ONLY_ONCE:
            raise ValueError(key)
        else:
            self._headers[key] += ", " + value.decode("latin-1")

    def read(self, head: bytes) -> RequestHead:
        """Raises Malformed. What is given back is for reading: another request may be given the same."""
        last = self._last
        if last is not None and last[0] == head:
            return last[1]
        found = self._read(head)
        self._last = (head, found) if len(head) <= _MOST_REMEMBERED else None
        return found

    def _read(self, head: bytes) -> RequestHead:
        parser = self._parser
        headers: dict[str, str] = {}
        self._headers = headers
        self._url = b""
        try:
            parser.feed_data(head)
        except httptools.HttpParserUpgrade:
            pass
        except httptools.HttpParserError as error:
            raise Malformed("", f"malformed HTTP request: {error}") from error
        http_10 = parser.get_http_version() == "1.0"
        # Not the parser's word: it has forgotten the head of a request without a body by now.
        connection = headers.get("connection", "").lower()
        keep_alive = "keep-alive" in connection if http_10 else "close" not in connection
        found = RequestHead(
            parser.get_method().decode("latin-1"), self._url.decode("latin-1"), headers, http_10, keep_alive
        )
        if found.has_body or "upgrade" in headers:
            self._parser = httptools.HttpRequestParser(self)  # the old one would go on into the body
        return found


def render_head(
    status: int,
    content_type: str,
    headers: Mapping[str, str],
    fixed_lines: bytes,
    *more: bytes,
) -> bytes:
    """`fixed_lines` are headers that every answer carries, `more` are those of this one, each with its line end."""
    lines = [_REASONS.get(status) or f"HTTP/1.1 {status} \r\n".encode(), fixed_lines]
    if content_type:
        lines += [b"Content-Type: ", content_type.encode("latin-1"), b"\r\n"]
    for name, value in headers.items():
        lines.append(f"{name}: {value}\r\n".encode("latin-1", "replace"))
    lines += [*more, b"\r\n"]
    return b"".join(lines)
