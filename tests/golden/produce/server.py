"""A server on the loopback interface that answers badly on purpose."""

import http.server
import socket
import struct
import threading
import time

REASONS = {429: "Too Many Requests", 503: "Service Unavailable", 502: "Bad Gateway", 500: "Internal Server Error"}


class Handler(http.server.BaseHTTPRequestHandler):
    flaky = 0

    def log_message(self, *args):
        pass

    def do_GET(self):
        first = self.path.split("/")[1].split("?")[0]
        if first == "slow":
            time.sleep(4)
        elif first == "reset":
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif first == "empty":
            self.connection.shutdown(socket.SHUT_RDWR)
        elif first == "short":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 10)
        elif first == "flaky":
            Handler.flaky += 1
            self.answer(503 if Handler.flaky % 2 else 200, "ok\n")
        elif first == "ratelimit":
            self.answer(403, '{"message": "API rate limit exceeded for user ID 7.", "documentation_url": "https://docs.example.org/rate-limits"}\n')
        elif first == "k8s-forbidden":
            self.answer(403, '{"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "Forbidden", "code": 403, "message": "pods is forbidden: User \\"ci\\" cannot list resource \\"pods\\" in API group \\"\\" in the namespace \\"default\\""}', "application/json")
        else:
            status = int(first) if first.isdigit() else 404
            self.answer(status, f"{status} {REASONS.get(status, '')}\n")

    do_POST = do_GET

    def answer(self, status, body, kind="text/plain"):
        self.send_response(status, REASONS.get(status))
        if status == 429:
            self.send_header("Retry-After", "7")
        if status == 401:
            self.send_header("WWW-Authenticate", 'Basic realm="packages"')
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())


def start():
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port
