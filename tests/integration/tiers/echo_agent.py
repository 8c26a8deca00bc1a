"""A tiny agent for tests: a TCP server that echoes, in the way a tier's agent starts and speaks.

``--hold MIB`` holds that much memory first; ``--fail`` ends with a message instead.
"""

import argparse
import json
import socketserver
import sys


class Echo(socketserver.BaseRequestHandler):
    def handle(self):
        while data := self.request.recv(65536):
            self.request.sendall(data)


class Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("listen")
    parser.add_argument("--hold", type=int, default=0)
    parser.add_argument("--fail", action="store_true")
    parser.add_argument("--marker")
    arguments = parser.parse_args()
    if arguments.fail:
        sys.exit("the model is not there")
    held = [bytes([1]) * 2**20 for _ in range(arguments.hold)]
    host, port = arguments.listen.rsplit(":", 1)
    with Server((host, int(port)), Echo) as server:
        host, port = server.server_address
        ready = {"listening": f"http://{host}:{port}"}
        sys.stdout.write(f"holding {len(held)} MiB\n{json.dumps(ready)}\n")
        sys.stdout.flush()
        server.serve_forever()


main()
