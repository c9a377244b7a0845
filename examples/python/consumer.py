"""Packs orders that it pulls from an inbox, four at a time. Control-C or SIGTERM ends it gracefully."""

import logging

from triggers_api.client import Client, Message

packed: set[int] = set()  # in real life a table with a unique column


def pack(message: Message) -> None:
    """One order. When it raises, the order comes again after a while."""
    order = message.payload
    if order["id"] not in packed:  # a message may come again: its lease ended, or its packer did
        packed.add(order["id"])
        print(f"packed {order['id']}\n", end="", flush=True)  # in one piece: there are four of us


def main() -> None:
    """Packs until a signal comes."""
    logging.basicConfig(level=logging.INFO)
    with Client() as client:
        inbox = client.inbox("packing")
        inbox.save(types=["order.*"])  # made at the first start; it keeps its place afterwards
        print("ready", flush=True)
        inbox.run(pack, concurrency=4)
    print("ended", flush=True)


if __name__ == "__main__":
    main()
