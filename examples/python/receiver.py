"""An endpoint for webhooks, without a framework: verifies each, and skips what it has had already."""

import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock

from triggers_api.client import Client, InvalidWebhook, verify

PORT = int(os.environ.get("RECEIVER_PORT", "9000"))
SECRET = Path("webhook-secret")

had: set[str] = set()  # in real life a table with a unique column
one_at_a_time = Lock()


class Handler(BaseHTTPRequestHandler):
    """Answers 204 to what is ours, 401 to what is not."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        """One webhook."""
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            webhook = verify(self.headers, body, SECRET.read_text().split())
        except InvalidWebhook as error:
            print("refused:", error, flush=True)
            self.answer(401)
            return
        with one_at_a_time:
            if webhook.id not in had:
                had.add(webhook.id)
                print("received", webhook.data["id"], webhook.type, flush=True)
        self.answer(204)

    def answer(self, status: int) -> None:
        """A status, and no body."""
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing on standard error."""


def main() -> None:
    """Subscribes at the first start, and keeps the secret."""
    if not SECRET.exists():
        with Client() as client:
            made = client.subscriptions.create(f"http://127.0.0.1:{PORT}/orders", ["order.*"])
        assert made.secret is not None
        SECRET.write_text(made.secret)
        SECRET.chmod(0o600)
    server = ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
