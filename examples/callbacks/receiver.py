"""Takes callbacks and checks that they are the platform's. `pip install standardwebhooks`, and set CALLBACK_SECRET."""

import os
from http.server import BaseHTTPRequestHandler, HTTPServer

from standardwebhooks import Webhook, WebhookVerificationError

webhook = Webhook(os.environ["CALLBACK_SECRET"])


class Receiver(BaseHTTPRequestHandler):
    """Answers 204 to what the platform has sent, 401 to anything else."""

    def do_POST(self) -> None:
        """Check the bytes as they came: JSON that was parsed and written anew has another signature."""
        body = self.rfile.read(int(self.headers["Content-Length"]))
        try:
            told = webhook.verify(body, dict(self.headers))
        except WebhookVerificationError:
            self.send_response(401)
        else:
            # A callback may come twice: keep `webhook-id`, and do nothing for one that you know.
            print(self.headers["webhook-id"], told["type"], told["data"]["id"], flush=True)
            self.send_response(204)
        self.end_headers()


if __name__ == "__main__":
    HTTPServer(("127.0.0.1", int(os.environ.get("PORT", "9000"))), Receiver).serve_forever()
