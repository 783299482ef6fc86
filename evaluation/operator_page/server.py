"""Serves the operator's page: files, state, camera, answers. The standard library alone, no network needed.

It listens on the loopback interface by default, and every request needs the token that is printed at the start. All
that a holder of the token can do to the arm is to stop it; where it is teleoperated from the page, to steer it too.

One thread serves all connections in an event loop. An answer, STOP above all, is handed in as soon as it has come in;
what only looks, the state and the images of any number of pages, waits in a queue of which one at a time is served.
"""

from __future__ import annotations

import asyncio
import hmac
import io
import json
import secrets
import socket
import threading
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import cv2
import numpy as np
import segno

from evaluation.operator_page.operator_state import LONGEST_NAME, LONGEST_NOTE, OperatorError, OperatorState

PAGE = Path(__file__).resolve().parent / "page"
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
"""Nothing else is served."""
LARGEST_BODY = 4 * (LONGEST_NOTE + LONGEST_NAME) + 1000
LARGEST_HEAD = 16_384
PATIENCE = 10.0
"""Longest that a client may take to send its request, or to take the answer [s]."""
MOST_CONNECTIONS = 500
"""At once, beyond which only answers are served."""
HEADERS = {
    # Nothing from elsewhere, no framing, no guessing of types, and no token in a Referer
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cache-Control": "no-store",
}
JPEG_QUALITY = 80
NO_TOKEN = "the token is missing or wrong; open the address that the session printed"


@dataclass(frozen=True)
class _Request:
    method: str
    path: str
    query: dict[str, list[str]]
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes


@dataclass(frozen=True)
class _Response:
    status: HTTPStatus
    content: bytes
    kind: str

    def __bytes__(self) -> bytes:
        # HTTP/1.0 and closed: a connection that is kept alive would be served after the server has ended
        fields = {"Content-Type": self.kind, "Content-Length": str(len(self.content)), **HEADERS}
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        return f"HTTP/1.0 {self.status.value} {self.status.phrase}\r\n{head}\r\n".encode() + self.content


class PageServer:
    """The page, while its `with` block runs."""

    def __init__(self, operator: OperatorState, host: str = "127.0.0.1", port: int = 0, token: str | None = None):
        """Listen at once; a fresh token unless one is given.

        Raises:
            OperatorError: if `host` and `port` cannot be listened on.
        """
        self.token = token or secrets.token_urlsafe(18)
        self.host = host
        self._operator = operator
        self._jpeg: tuple[np.ndarray, bytes] | None = None
        try:
            self._socket = socket.create_server((host, port), backlog=1024)
        except OSError as error:
            raise OperatorError(
                f"page: cannot listen on {host}:{port}: {error.strerror}; choose another --port"
            ) from error
        self.port: int = self._socket.getsockname()[1]
        self._loop = asyncio.new_event_loop()
        self._ended = asyncio.Event()
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)

    @property
    def url(self) -> str:
        """Address with the token, to be opened in a browser."""
        return self.url_for("127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host)

    def url_for(self, host: str) -> str:
        """The same for another name of this machine."""
        return f"http://{host}:{self.port}/?token={self.token}"

    def __enter__(self) -> PageServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    # The event loop

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._loop.close()

    async def _serve(self) -> None:
        self._connections = 0
        self._lookers: asyncio.Queue[tuple[_Request, asyncio.Future[_Response]]] = asyncio.Queue()
        server = await asyncio.start_server(self._connected, sock=self._socket, backlog=1024, limit=LARGEST_HEAD)
        looking = asyncio.create_task(self._serve_lookers())
        await self._ended.wait()
        server.close()
        rest = asyncio.all_tasks() - {asyncio.current_task()}
        for task in rest:
            task.cancel()
        await asyncio.gather(*rest, looking, return_exceptions=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        try:
            response = await asyncio.wait_for(self._read_and_answer(reader), PATIENCE)
            writer.write(bytes(response))
            await asyncio.wait_for(writer.drain(), PATIENCE)
        except (OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
            pass  # the browser has gone; OperatorState.lost follows
        finally:
            self._connections -= 1
            writer.close()

    async def _read_and_answer(self, reader: asyncio.StreamReader) -> _Response:
        try:
            request = _parse(await reader.readuntil(b"\r\n\r\n"))
        except (ValueError, asyncio.LimitOverrunError):
            return _refusal(HTTPStatus.BAD_REQUEST, "this is no HTTP request that the page sends")
        if request.method == "GET" and self._connections > MOST_CONNECTIONS:
            return _refusal(
                HTTPStatus.SERVICE_UNAVAILABLE, f"more than {MOST_CONNECTIONS} connections; close some pages"
            )
        if request.method == "GET":
            answered: asyncio.Future[_Response] = self._loop.create_future()
            self._lookers.put_nowait((request, answered))
            return await answered
        if request.method != "POST":
            return _refusal(HTTPStatus.METHOD_NOT_ALLOWED, "expected GET or POST")
        length = request.headers.get("content-length", "")
        if not length.isdigit() or int(length) > LARGEST_BODY:
            return _refusal(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"an answer has at most {LARGEST_BODY} bytes")
        body = await reader.readexactly(int(length))
        return self._post(_Request(request.method, request.path, request.query, request.headers, body))

    async def _serve_lookers(self) -> None:
        while True:
            request, answered = await self._lookers.get()
            if not answered.done():
                answered.set_result(self._get(request))
            await asyncio.sleep(0)  # between two of them whatever else has come in is served

    # What is answered

    def _get(self, request: _Request) -> _Response:
        """Serve a file, or, with the token, the state, the camera image or the address as a QR code."""
        if request.path in FILES:
            name, kind = FILES[request.path]
            return _Response(HTTPStatus.OK, (PAGE / name).read_bytes(), kind)
        if not self._allowed(request):
            return _refusal(HTTPStatus.FORBIDDEN, NO_TOKEN)
        if request.path == "/state":
            client, role = (request.query.get(name, [""])[0][:40] for name in ("client", "role"))
            return _json(HTTPStatus.OK, self._operator.state(client or "?", second=role == "second"))
        if request.path == "/camera.jpg":
            return self._camera()
        if request.path == "/qr.svg":
            return self._qr(request)
        return _refusal(HTTPStatus.NOT_FOUND, f"there is nothing at {request.path[:80]}")

    def _post(self, request: _Request) -> _Response:
        """Hand in an answer."""
        if not self._allowed(request):
            return _refusal(HTTPStatus.FORBIDDEN, NO_TOKEN)
        if request.path == "/steer":
            return self._steer(request)
        if request.path != "/answer":
            return _refusal(HTTPStatus.NOT_FOUND, "answers go to /answer")
        names = ("key", "answer", "note", "by", "role")
        try:
            said = json.loads(request.body)
            key, answer, note, by, role = (said.get(name, "") for name in names)
            if not all(isinstance(each, str) for each in (key, answer, note, by, role)):
                raise ValueError("texts expected")
        except (ValueError, AttributeError, RecursionError):
            return _refusal(HTTPStatus.BAD_REQUEST, f"expected JSON with texts: {', '.join(names)}")
        try:
            if role == "second" and answer != "stop":
                self._operator.hand_in_second(key, answer, by)
            else:
                self._operator.hand_in(key, answer, note, by)
        except OperatorError as error:
            return _refusal(HTTPStatus.CONFLICT, str(error))
        return _json(HTTPStatus.OK, {"taken": answer})

    def _steer(self, request: _Request) -> _Response:
        """Take which keys are held."""
        try:
            said = json.loads(request.body)
            client, keys = said["client"], said["held"]
            if not isinstance(client, str) or not isinstance(keys, list) or not all(isinstance(k, str) for k in keys):
                raise ValueError("texts expected")
        except (ValueError, KeyError, TypeError, RecursionError):
            return _refusal(HTTPStatus.BAD_REQUEST, "expected JSON with client, a text, and held, a list of keys")
        try:
            self._operator.steer(client[:40], keys)
        except OperatorError as error:
            return _refusal(HTTPStatus.CONFLICT, str(error))
        return _json(HTTPStatus.OK, {})

    def _allowed(self, request: _Request) -> bool:
        given = request.headers.get("authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(given.encode(), self.token.encode())

    def _camera(self) -> _Response:
        frame = self._operator.frame()
        if frame is None:
            return _refusal(HTTPStatus.NOT_FOUND, "no picture yet")
        if self._jpeg is None or self._jpeg[0] is not frame:  # encoded once, however many pages show it
            bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
            _, encoded = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
            self._jpeg = (frame, encoded.tobytes())
        return _Response(HTTPStatus.OK, self._jpeg[1], "image/jpeg")

    def _qr(self, request: _Request) -> _Response:
        """The address by which the page itself was reached, for another device."""
        host = urlsplit(f"//{request.headers.get('host', '')}").hostname or "127.0.0.1"
        content = io.BytesIO()
        segno.make(self.url_for(host), error="m").save(content, kind="svg", scale=4, border=4, light="white")
        return _Response(HTTPStatus.OK, content.getvalue(), "image/svg+xml")


def _parse(head: bytes) -> _Request:
    """Request line and header fields. Raises ValueError."""
    first, *lines = head.decode("latin-1").split("\r\n")[:-2]
    method, target, _ = first.split(" ")
    pairs = [line.split(":", 1) for line in lines]
    headers = {name.strip().lower(): value.strip() for name, value in pairs}
    address = urlsplit(target)
    return _Request(method, address.path, parse_qs(address.query), headers, b"")


def _json(status: HTTPStatus, content: dict) -> _Response:
    return _Response(status, json.dumps(content).encode(), "application/json")


def _refusal(status: HTTPStatus, why: str) -> _Response:
    return _json(status, {"error": why})
