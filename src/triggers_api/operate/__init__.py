"""Keeping it well: loops, sweeps, and what the service says about itself."""
