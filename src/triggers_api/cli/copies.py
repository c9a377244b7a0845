"""What is said of a copy of the embedded database, by those who make one and put one back."""

from collections.abc import Iterator

from triggers_api.cli.finding import Finding
from triggers_api.store.sqlite.backup import Content


def about(content: Content) -> Iterator[Finding]:
    """What is in it."""
    if content.pending:
        yield Finding(
            "ok",
            "schema",
            f"version {content.schema}; the next start applies {content.pending} migration(s)",
        )
        return
    yield Finding("ok", "schema", f"version {content.schema}, up to date")
    events = sum(account.accepted for account in content.accounts)
    open_ = sum(
        account.deliveries.get(state, 0)
        for account in content.accounts
        for state in ("pending", "delivering", "retrying")
    )
    text = f"{events:,} events, {open_:,} deliveries open"
    if all(account.balances() for account in content.accounts):
        yield Finding("ok", "books", f"{text}; they balance")
    else:
        yield Finding("fail", "books", f"{text}; they do not balance: run triggers verify")
    if content.sealed is not None and content.sealed.lost:
        yield Finding(
            "fail",
            "secrets",
            f"of {content.sealed.lost} subscription(s) are encrypted under a key that is not here",
        )
