"""`python -m deploy.healthcheck PORT`: exit code 0 when the process in this container is ready."""

import http.client
import sys


def main() -> int:
    """Ask /readyz of the port on loopback."""
    connection = http.client.HTTPConnection("127.0.0.1", int(sys.argv[1]), timeout=3)
    try:
        connection.request("GET", "/readyz")
        return int(connection.getresponse().status != http.HTTPStatus.OK)
    except (OSError, http.client.HTTPException) as error:
        print(error, file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
