"""Sends orders. What cannot be sent now is kept in a file, and sent the next time."""

import json
import sys
from pathlib import Path

from triggers_api.client import Client, ClientError, NewEvent, SendInterrupted

LEFT_OVER = Path("orders-to-send.ndjson")


def place_order(client: Client, number: int) -> None:
    """One order. The dedup_id is the order's own: placed again, it is the same event."""
    order = {"id": number, "total": number * 9.5}
    try:
        sent = client.send("order.placed", order, dedup_id=f"order-{number}")
        print("sent", number, sent.id, flush=True)
    except ClientError as error:
        print("kept", number, error, flush=True)
        with LEFT_OVER.open("a") as file:
            file.write(json.dumps(order) + "\n")


def send_left_over(client: Client) -> None:
    """All orders of the file, in as few requests as there may be."""
    if not LEFT_OVER.exists():
        return
    orders = [json.loads(line) for line in LEFT_OVER.read_text().splitlines()]
    events = [NewEvent("order.placed", order, dedup_id=f"order-{order['id']}") for order in orders]
    try:
        report = client.send_many(events)
    except SendInterrupted as interrupted:
        print("not yet:", interrupted.__cause__, flush=True)
        return  # sent again as a whole: what was stored is not stored twice
    LEFT_OVER.unlink()
    print("sent", report.accepted, "and", report.duplicates, "were there already", flush=True)


def main() -> None:
    """Places as many orders as the first argument says."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10
    with Client(timeout_s=2) as client:
        send_left_over(client)
        for number in range(count):
            place_order(client, number)


if __name__ == "__main__":
    main()
