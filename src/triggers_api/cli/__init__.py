"""The ``triggers`` command."""
