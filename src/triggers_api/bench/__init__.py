"""The benchmark behind ``triggers bench``: what to run, how to load, what came of it."""
