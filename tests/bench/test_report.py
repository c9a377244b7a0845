"""Tables."""

from triggers_api.bench.report import table


def test_columns_are_aligned_to_their_side() -> None:
    rows = [("name", "rate", "by"), ("echo", "31,010", "wrk"), ("ingest", "9", "")]
    assert table(rows, "lrl") == [
        "  name      rate  by",
        "  echo    31,010  wrk",
        "  ingest       9",
    ]
