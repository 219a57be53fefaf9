"""How a starting server is asked whether it is ready. Loopback only."""

import http.client
import socket

SECONDS = 2.0


def accepts(port: int) -> bool:
    """Whether something takes connections; raises OSError while nothing does."""
    with socket.create_connection(("127.0.0.1", port), timeout=SECONDS):
        return True


def answers(port: int, path: str) -> bool:
    """Whether an HTTP server answers this path with 200; raises OSError while nothing does."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=SECONDS)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except http.client.HTTPException:
        return False
    finally:
        connection.close()
