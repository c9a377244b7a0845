"""The part of the Common Expression Language that filters are written in.

``syntax`` turns text into a tree within bounds, ``program`` a tree into closures, ``values`` knows what
operators and functions do. What is left out of the language is refused when it is compiled, never
understood differently (``docs/decisions/0015-filters.md``).
"""
