"""Functions in Lua that run inside the server, kept as files beside the code that calls them."""

import hashlib
from importlib import resources
from typing import Self

import msgspec


class Script(msgspec.Struct, frozen=True):
    """A function: its text, and the digest by which a server that has seen it knows it."""

    name: str
    text: bytes
    digest: bytes

    @classmethod
    def of(cls, package: str, name: str) -> Self:
        """The one in ``<name>.lua`` of a package's folder ``lua``."""
        text = resources.files(package).joinpath("lua", f"{name}.lua").read_bytes()
        # What EVALSHA identifies a script by; nothing is to be kept from anybody.
        digest = hashlib.sha1(text, usedforsecurity=False).hexdigest()
        return cls(name, text, digest.encode())
