"""Triggers API: durable event ingestion and webhook delivery."""

__version__ = "0.1.0"
