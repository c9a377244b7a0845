"""Triggers API: durable event ingestion and webhook delivery."""

from typing import Final

__version__: Final = "0.1.0"
