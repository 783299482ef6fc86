"""Serves the operator's page: files, state, camera, answers. The standard library's server, no network needed.

It listens on the loopback interface by default, and every request needs the token that is printed at the start. All
that a holder of the token can do to the arm is to stop it.
"""

from __future__ import annotations

import hmac
import json
import secrets
import threading
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import cv2

from evaluation.operator_page.operator_state import LONGEST_NOTE, OperatorError, OperatorState

PAGE = Path(__file__).resolve().parent / "page"
FILES = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
}
"""Nothing else is served."""
LARGEST_BODY = 4 * LONGEST_NOTE + 1000
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


class PageServer:
    """The page, while its `with` block runs."""

    def __init__(self, operator: OperatorState, host: str = "127.0.0.1", port: int = 0, token: str | None = None):
        """Listen at once; a fresh token unless one is given.

        Raises:
            OperatorError: if `host` and `port` cannot be listened on.
        """
        self.token = token or secrets.token_urlsafe(18)
        try:
            self._server = _Server((host, port), _Handler)
        except OSError as error:
            raise OperatorError(
                f"page: cannot listen on {host}:{port}: {error.strerror}; choose another --port"
            ) from error
        self._server.operator, self._server.token = operator, self.token
        self.host, self.port = host, self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, name="page", daemon=True)

    @property
    def url(self) -> str:
        """Address with the token, to be opened in a browser."""
        shown = "127.0.0.1" if self.host in ("0.0.0.0", "::", "") else self.host
        return f"http://{shown}:{self.port}/?token={self.token}"

    def __enter__(self) -> PageServer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True
    operator: OperatorState
    token: str


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "sim2real"
    sys_version = ""
    protocol_version = "HTTP/1.0"  # a connection that is kept alive would be served after the server has ended
    timeout = 30

    def do_GET(self) -> None:
        """Serve a file, or, with the token, the state or the camera image."""
        address = urlsplit(self.path)
        if address.path in FILES:
            name, kind = FILES[address.path]
            self._answer(HTTPStatus.OK, (PAGE / name).read_bytes(), kind)
        elif not self._allowed():
            self._refuse(HTTPStatus.FORBIDDEN, NO_TOKEN)
        elif address.path == "/state":
            client = parse_qs(address.query).get("client", ["?"])[0][:40]
            self._answer_json(HTTPStatus.OK, self.server.operator.state(client))
        elif address.path == "/camera.jpg":
            self._camera()
        else:
            self._refuse(HTTPStatus.NOT_FOUND, f"there is nothing at {address.path[:80]}")

    def do_POST(self) -> None:
        """Hand in an answer."""
        length = self.headers.get("Content-Length", "")
        if not length.isdigit() or int(length) > LARGEST_BODY:
            self.close_connection = True
            self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"an answer has at most {LARGEST_BODY} bytes")
            return
        body = self.rfile.read(int(length))
        if not self._allowed():
            self._refuse(HTTPStatus.FORBIDDEN, NO_TOKEN)
            return
        if urlsplit(self.path).path != "/answer":
            self._refuse(HTTPStatus.NOT_FOUND, "answers go to /answer")
            return
        try:
            said = json.loads(body)
            key, answer, note = (said.get(name, "") for name in ("key", "answer", "note"))
            if not all(isinstance(each, str) for each in (key, answer, note)):
                raise ValueError("texts expected")
        except (ValueError, AttributeError):
            self._refuse(HTTPStatus.BAD_REQUEST, 'expected JSON {"key": text, "answer": text, "note": text}')
            return
        try:
            self.server.operator.hand_in(key, answer, note)
        except OperatorError as error:
            self._refuse(HTTPStatus.CONFLICT, str(error))
            return
        self._answer_json(HTTPStatus.OK, {"taken": answer})

    def log_message(self, format: str, *args: object) -> None:
        """Stay silent: the session's terminal shows the session, and a log would hold the token."""

    def _allowed(self) -> bool:
        given = self.headers.get("Authorization", "").removeprefix("Bearer ")
        return hmac.compare_digest(given.encode(), self.server.token.encode())

    def _camera(self) -> None:
        frame = self.server.operator.frame()
        if frame is None:
            self._refuse(HTTPStatus.NOT_FOUND, "no picture yet")
            return
        bgr = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        _, encoded = cv2.imencode(".jpg", bgr, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
        self._answer(HTTPStatus.OK, encoded.tobytes(), "image/jpeg")

    def _answer_json(self, status: HTTPStatus, content: dict) -> None:
        self._answer(status, json.dumps(content).encode(), "application/json")

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._answer_json(status, {"error": why})

    def _answer(self, status: HTTPStatus, content: bytes, kind: str) -> None:
        try:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
            for name, value in HEADERS.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)
        except (BrokenPipeError, ConnectionResetError):  # the browser has gone; OperatorState.lost follows
            self.close_connection = True
