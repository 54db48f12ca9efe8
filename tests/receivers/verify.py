"""A receiver of webhooks: answers 204 where the published library verifies what came, and 400 where it does not.

Usage: verify.py SECRET. Prints its port.
"""

import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "vendor"))

from standardwebhooks import Webhook, WebhookVerificationError  # noqa: E402


class Receiver(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["content-length"]))
        try:
            Webhook(sys.argv[1]).verify(body, dict(self.headers))
            self.send_response(204)
        except WebhookVerificationError:
            self.send_response(400)
        self.end_headers()

    def log_message(self, *_):
        pass


server = HTTPServer(("127.0.0.1", 0), Receiver)
print(server.server_address[1], flush=True)
server.serve_forever()
