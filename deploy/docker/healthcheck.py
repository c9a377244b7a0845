"""python -I -S healthcheck.py ROUTE: ends well if this container's service answers the route with 200.

The image has no curl, and needs none: this takes a few milliseconds. A worker answers on 8001 unless it
is told otherwise; the port is the environment's, or what the second argument says.
"""

import http.client
import os
import sys

PATIENCE_S = 4.0


def main() -> int:
    """The exit code."""
    route = sys.argv[1] if len(sys.argv) > 1 else "/livez"
    given = os.environ.get("TRIGGERS_PORT") or os.environ.get("PORT") or "8000"
    # In Kubernetes a service called "triggers" sets it to an address, which is not for us.
    port = int(sys.argv[2]) if len(sys.argv) > 2 else int(given) if given.isdecimal() else 8000
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        connection.request("GET", route)
        answer = connection.getresponse()
        body = answer.read(4096).decode(errors="replace")
    except OSError as error:
        sys.stdout.write(f"no answer: {error}\n")
        return 1
    finally:
        connection.close()
    sys.stdout.write(f"{answer.status} {body}\n")
    return 0 if answer.status == 200 else 1


if __name__ == "__main__":
    sys.exit(main())
