"""JSON Schemas of event types: which are taken, and what they say of a payload. Pure.

A schema comes from an organization and is applied to every event of a type, in the one thread that
takes all events in. So what it can cost is bounded before it is applied: patterns run on an engine whose
time is linear in the text, nothing is fetched, and a payload that could take more than
:data:`MOST_STEPS` steps is not checked, which is a fault of its own.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote

import jsonschema_rs
import msgspec

from triggers_api.errors import FieldError

SCHEMA_LENGTH: Final = 1 << 16
"""Bytes of a schema."""
SCHEMA_DEPTH: Final = 32
PATTERNS_LIMIT: Final = 200
PATTERN_LENGTH: Final = 1024
PATTERN_STATES: Final = 10_000
"""Of all patterns of a schema together, by :func:`pattern_states`."""

MOST_STEPS: Final = 20_000_000
"""Steps that checking one payload may take; each is of some 25 ns or less."""
MOST_STEPS_FOR_FAULTS: Final = 10_000
"""Up to so many steps all faults of a payload are found, beyond it the first one."""
FAULTS_LIMIT: Final = 20
MESSAGE_LENGTH: Final = 200

TOO_COMPLEX: Final = "schema-too-complex"
UNREADABLE: Final = "schema-unreadable"
UNUSABLE: Final = "schema-unusable"

_DRAFTS: Final[Mapping[str, type[jsonschema_rs.Validator]]] = {
    "https://json-schema.org/draft/2020-12/schema": jsonschema_rs.Draft202012Validator,
    "https://json-schema.org/draft/2019-09/schema": jsonschema_rs.Draft201909Validator,
    "http://json-schema.org/draft-07/schema": jsonschema_rs.Draft7Validator,
    "http://json-schema.org/draft-06/schema": jsonschema_rs.Draft6Validator,
    "http://json-schema.org/draft-04/schema": jsonschema_rs.Draft4Validator,
}
_PATTERN_OPTIONS: Final = jsonschema_rs.RegexOptions(size_limit=500_000, dfa_size_limit=1_000_000)
_MASK: Final = "the value"

# Where schemas are in a schema: one under a keyword, a list of them, or one for each name.
_IN_PLACE: Final = ("not", "if", "then", "else")
_IN_PLACE_LISTS: Final = ("allOf", "anyOf", "oneOf")
_IN_PLACE_MAPS: Final = ("dependentSchemas", "dependencies")
_OF_MANY: Final = (
    "items", "additionalItems", "contains", "additionalProperties", "unevaluatedItems",
    "unevaluatedProperties", "propertyNames", "contentSchema",
)  # fmt: skip
_DEFINITIONS: Final = ("$defs", "definitions")
_REFUSED: Final = ("$dynamicRef", "$recursiveRef", "$dynamicAnchor", "$recursiveAnchor")

_PATTERN_STEPS: Final = 20
_CAPITAL: Final = re.compile(r"(?<!^)(?=[A-Z])")
_EMPTY_FRAGMENT: Final = "#"
_DEPTH: Final = 64

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.encode


class Schema:
    """A schema, compiled."""

    def __init__(self, text: bytes, /) -> None:
        """Compile one that :func:`schema_faults` has nothing to say of.

        Raises:
            ValueError: it cannot be used.
        """
        document = _decode(text)
        self._validator = _compiled(document)
        self._cost = Cost(document)

    def faults(self, payload: bytes) -> tuple[FieldError, ...]:
        """What is wrong with a payload, each with a pointer that begins with ``/payload``.

        The messages hold names of its members, never its values.

        Args:
            payload: the bytes of one JSON value.
        """
        try:
            value = _decode(payload)
        except (msgspec.DecodeError, RecursionError):
            # A number beyond what a double holds: kept byte for byte, but not to be compared.
            return (_payload_fault([], UNREADABLE, "holds a number out of range"),)
        steps = self._cost.steps(payload)
        if steps > MOST_STEPS:
            return (_payload_fault([], TOO_COMPLEX, "is too large and too nested for this schema"),)
        if self._validator.is_valid(value):
            return ()
        if steps <= MOST_STEPS_FOR_FAULTS:
            found = list(self._validator.iter_errors(value))
            found.sort(key=lambda error: len(error.instance_path))
            return tuple(_told(error) for error in found[:FAULTS_LIMIT])
        try:
            self._validator.validate(value)
        except jsonschema_rs.ValidationError as error:
            return (_told(error),)
        return (_payload_fault([], "schema-mismatch", "does not fit the schema"),)


def schema_faults(text: bytes) -> list[FieldError]:
    """Why a schema is not taken, each with a pointer that begins with ``/schema``; empty if it is.

    Args:
        text: the bytes of one JSON value.
    """
    if len(text) > SCHEMA_LENGTH:
        return [_schema_fault([], "too-large", f"may have at most {SCHEMA_LENGTH} bytes")]
    try:
        document = _decode(text)
    except (msgspec.DecodeError, RecursionError):
        return [_schema_fault([], "unreadable", "holds a number out of range")]
    if not isinstance(document, bool | dict):
        return [_schema_fault([], "invalid-type", "must be an object or a boolean")]
    return _structural_faults(document)[:FAULTS_LIMIT] or _compile_faults(document)


def _compile_faults(document: Any) -> list[FieldError]:  # noqa: ANN401 - any JSON
    try:
        _compiled(document)
    except jsonschema_rs.ValidationError as error:
        message = "is not a pattern that is taken here" if _of_pattern(error) else error.message
        return [_schema_fault(error.instance_path, "invalid-schema", message)]
    except ValueError as error:
        return [_schema_fault([], "invalid-schema", str(error))]
    if Cost(document).steps(b"{}") > MOST_STEPS:
        return [
            _schema_fault([], "too-complex", "could take too long to check a small payload against")
        ]
    return []


def _compiled(document: Any) -> jsonschema_rs.Validator:  # noqa: ANN401 - any JSON
    named = document.get("$schema") if isinstance(document, dict) else None
    draft = (
        jsonschema_rs.Draft202012Validator
        if named is None
        else _DRAFTS[named.removesuffix(_EMPTY_FRAGMENT)]
    )
    return draft(
        document, validate_formats=True, mask=_MASK, pattern_options=_PATTERN_OPTIONS, offline=True
    )


def _of_pattern(error: jsonschema_rs.ValidationError) -> bool:
    path = [str(part) for part in error.instance_path]
    return path[-1:] == ["pattern"] or path[-2:-1] == ["patternProperties"]


def _structural_faults(document: Any) -> list[FieldError]:  # noqa: ANN401 - any JSON
    if isinstance(document, bool):
        return []
    found: list[FieldError] = []
    named = document.get("$schema")
    if named is not None and (
        not isinstance(named, str) or named.removesuffix(_EMPTY_FRAGMENT) not in _DRAFTS
    ):
        found.append(
            _schema_fault(["$schema"], "unknown-schema", f"must be one of {', '.join(_DRAFTS)}")
        )
    patterns: list[str] = []
    for path, node in _nodes(document):
        if len(path) > SCHEMA_DEPTH:
            found.append(
                _schema_fault(path, "too-deep", f"is nested deeper than {SCHEMA_DEPTH} levels")
            )
            break
        found += _reference_faults(path, node, document)
        here = [*node.get("patternProperties", {})] if _is_map(node, "patternProperties") else []
        pattern = node.get("pattern")
        if isinstance(pattern, str):
            here.append(pattern)
        patterns += here
        found += [
            _schema_fault(path, "pattern-too-long", f"may have at most {PATTERN_LENGTH} characters")
            for each in here
            if len(each) > PATTERN_LENGTH
        ]
    if len(patterns) > PATTERNS_LIMIT:
        found.append(_schema_fault([], "too-many", f"may have at most {PATTERNS_LIMIT} patterns"))
    elif not found and sum(map(pattern_states, patterns)) > PATTERN_STATES:
        found.append(_schema_fault([], "too-complex", "has patterns that repeat too much"))
    return found


def _reference_faults(
    path: Sequence[str | int],
    node: Mapping[str, Any],
    document: Any,  # noqa: ANN401 - any JSON
) -> Iterator[FieldError]:
    for keyword in _REFUSED:
        if keyword in node:
            yield _schema_fault([*path, keyword], "invalid-reference", "is not taken here")
    if path and ("$id" in node or isinstance(node.get("id"), str)):
        yield _schema_fault(path, "invalid-reference", "an id is taken at the top only")
    reference = node.get("$ref")
    if reference is None:
        return
    if not isinstance(reference, str) or not (reference == "#" or reference.startswith("#/")):
        yield _schema_fault(
            [*path, "$ref"],
            "invalid-reference",
            "must be # or begin with #/: a place in this schema",
        )
    elif not isinstance(_referred(document, reference), bool | dict):
        yield _schema_fault([*path, "$ref"], "invalid-reference", "leads to no schema")


def _nodes(document: Any) -> Iterator[tuple[list[str | int], dict[str, Any]]]:  # noqa: ANN401
    """Every object in a schema that may be a schema, or may be referred to as one."""
    waiting: list[tuple[list[str | int], Any, bool]] = [([], document, True)]
    while waiting:
        path, node, is_schema = waiting.pop()
        if len(path) > 2 * SCHEMA_DEPTH:
            yield path, {}
            return
        if isinstance(node, dict):
            if is_schema:
                yield path, node
            for name, below in node.items():
                # Below these are names, not keywords; and in these, values.
                in_map = is_schema and name in _MAPS
                if not (is_schema and name in _VALUES):
                    waiting.append(([*path, name], below, not in_map))
        elif isinstance(node, list):
            waiting += [([*path, place], below, True) for place, below in enumerate(node)]


_MAPS: Final = frozenset({"properties", "patternProperties", *_IN_PLACE_MAPS, *_DEFINITIONS})
_VALUES: Final = frozenset({"enum", "const", "default", "examples", "example"})


def _is_map(node: Mapping[str, Any], keyword: str) -> bool:
    return isinstance(node.get(keyword), dict)


def _referred(document: Any, reference: str) -> Any:  # noqa: ANN401 - any JSON
    node = document
    for part in unquote(reference[1:]).split("/")[1:]:
        name = part.replace("~1", "/").replace("~0", "~")
        if isinstance(node, dict):
            node = node.get(name)
        elif isinstance(node, list) and name.isdecimal() and int(name) < len(node):
            node = node[int(name)]
        else:
            return None
    return node


class Cost:
    """What applying a schema may cost, from above, in steps.

    A part of a schema that is reached by names alone is applied once to a payload. Any other may be
    applied to every value in it, and more than once where several ways lead to it: these are counted
    along a chain as deep as the payload is, and multiplied by the number of values that it may hold.
    """

    def __init__(self, document: Any) -> None:  # noqa: ANN401 - any JSON
        self._document = document
        self._chains: dict[tuple[int, int], int] = {}
        self._repeats: dict[tuple[int, int], int] = {}
        self._on_way: set[int] = set()
        self._once = self._of_names(document, {}, set())
        self.most = self._repeated(document, _DEPTH, set())

    def steps(self, payload: bytes) -> int:
        """An upper bound of what a payload costs."""
        values = len(payload) // 2 + 1
        at_most = self._once + values * self.most
        if at_most <= MOST_STEPS:
            return at_most
        depth = min(depth_of(payload), _DEPTH)
        return self._once + values * self._repeated(self._document, depth, set())

    def _of_names(self, node: Any, known: dict[int, int], on_way: set[int]) -> int:  # noqa: ANN401
        """Steps of all that names alone lead to."""
        if not isinstance(node, dict) or id(node) in on_way:
            return 0
        if id(node) not in known:
            on_way.add(id(node))
            below = (*self._in_place(node), *_named(node))
            steps = _own_steps(node) + sum(self._of_names(each, known, on_way) for each in below)
            on_way.remove(id(node))
            known[id(node)] = _capped(steps)
        return known[id(node)]

    def _repeated(self, node: Any, depth: int, on_way: set[int]) -> int:  # noqa: ANN401 - any JSON
        """Steps at each value of all that is reached otherwise."""
        if not isinstance(node, dict):
            return 0
        if id(node) in on_way:
            return self._chain(node, depth)
        key = (id(node), depth)
        if key not in self._repeats:
            on_way.add(id(node))
            steps = _spread_steps(node) + sum(self._chain(each, depth) for each in _of_many(node))
            steps += sum(self._repeated(each, depth, on_way) for each in self._in_place(node))
            # What is inside is divided among the names.
            steps += max((self._repeated(each, depth, on_way) for each in _named(node)), default=0)
            on_way.remove(id(node))
            self._repeats[key] = _capped(steps)
        return self._repeats[key]

    def _chain(self, node: Any, depth: int) -> int:  # noqa: ANN401 - any JSON
        """Steps at one value and those on one way down from it."""
        if not isinstance(node, dict):
            return 1
        key = (id(node), depth)
        known = self._chains.get(key)
        if known is not None:
            return known
        if id(node) in self._on_way and depth == self._depth_of_way:
            return _TOO_MANY  # it leads to itself without going down
        return self._chain_of(node, key, depth)

    _depth_of_way = -1

    def _chain_of(self, node: dict[str, Any], key: tuple[int, int], depth: int) -> int:
        before = self._on_way, self._depth_of_way
        if depth != self._depth_of_way:
            self._on_way, self._depth_of_way = set(), depth
        self._on_way = self._on_way | {id(node)}
        steps = _own_steps(node) + _spread_steps(node)
        steps += sum(self._chain(below, depth) for below in self._in_place(node))
        self._on_way, self._depth_of_way = before
        if depth:
            named = max((self._chain(below, depth - 1) for below in _named(node)), default=0)
            steps += named + sum(self._chain(below, depth - 1) for below in _of_many(node))
        self._chains[key] = steps = _capped(steps)
        return steps

    def _in_place(self, node: Mapping[str, Any]) -> Iterator[Any]:
        """The schemas that apply to the same value."""
        reference = node.get("$ref")
        if isinstance(reference, str):
            yield _referred(self._document, reference)
        for keyword in _IN_PLACE:
            if keyword in node:
                yield node[keyword]
        for keyword in _IN_PLACE_LISTS:
            if isinstance(node.get(keyword), list):
                yield from node[keyword]
        for keyword in _IN_PLACE_MAPS:
            if _is_map(node, keyword):
                yield from node[keyword].values()


_TOO_MANY: Final = 1 << 60


def _capped(steps: int) -> int:
    return min(steps, _TOO_MANY)


def _named(node: Mapping[str, Any]) -> Iterator[Any]:
    """The schemas of which each applies to one value inside: a member, or an element by its place."""
    if _is_map(node, "properties"):
        yield from node["properties"].values()
    for keyword in ("prefixItems", "items"):
        if isinstance(node.get(keyword), list):
            yield from node[keyword]


def _of_many(node: Mapping[str, Any]) -> list[Any]:
    """The schemas that may apply to any number of values inside."""
    found = [node[keyword] for keyword in _OF_MANY if isinstance(node.get(keyword), dict)]
    if _is_map(node, "patternProperties"):
        found += node["patternProperties"].values()
    return found


def _own_steps(node: Mapping[str, Any]) -> int:
    """What a schema costs at one value, without those in it."""
    steps = len(node)
    for keyword in ("properties", "dependentRequired", "dependencies", "required"):
        if isinstance(node.get(keyword), dict | list):
            steps += len(node[keyword])
    if "pattern" in node or "format" in node:
        steps += _PATTERN_STEPS
    options = node.get("enum")
    if isinstance(options, list) and any(isinstance(each, dict | list) for each in options):
        steps += len(_encode(options))
    if isinstance(node.get("const"), dict | list):
        steps += len(_encode(node["const"]))
    return steps


def _spread_steps(node: Mapping[str, Any]) -> int:
    """What it costs for every two bytes of the value, without those in it."""
    steps = 0
    if "uniqueItems" in node or "format" in node:
        steps += 1
    if isinstance(node.get("pattern"), str):
        steps += 2 * pattern_states(node["pattern"])
    if _is_map(node, "patternProperties"):
        steps += sum(2 + 2 * pattern_states(each) for each in node["patternProperties"])
    return steps


_PIECE: Final = re.compile(
    r"""
      (?P<wide> \\[pP](?:\{[^}]*\}|.) | \\[dDwWsS] | \[\^ (?:\\.|[^\]\\])* \] | \. )
    | (?P<one> \\. | \[ (?:\\.|[^\]\\])* \] )
    | (?P<times> \{ (?P<least>[0-9]+) (?: , (?P<most>[0-9]*) )? \} )
    | (?P<open> \( ) | (?P<close> \) )
    | (?P<other> . )
    """,
    re.VERBOSE | re.DOTALL,
)


def pattern_states(pattern: str) -> int:
    """About how many places a match of a pattern can be at: what a byte of a text costs at the worst."""
    sizes, last = [0], 0
    for piece in _PIECE.finditer(pattern):
        if piece["times"]:
            times = max(int(piece["most"] or 0), int(piece["least"]), 1)
            sizes[-1] += last * (times - 1)
            last *= times
        elif piece["open"]:
            sizes.append(0)
        elif piece["close"] and len(sizes) > 1:
            last = sizes.pop()
            sizes[-1] += last
        else:
            last = 2 if piece["wide"] else 1
            sizes[-1] += last
    return sum(sizes) + 1


_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")


def depth_of(payload: bytes) -> int:
    """How deep a JSON value is nested; 0 for a scalar."""
    outside = payload.replace(b"\\\\", b"").replace(b'\\"', b"").split(b'"')[::2]
    brackets = b"".join(outside).translate(None, _NOT_BRACKETS).translate(_BRACKETS)
    depth = 0
    while brackets:
        brackets = brackets.replace(b"[]", b"")
        depth += 1
    return depth


def _told(error: jsonschema_rs.ValidationError) -> FieldError:
    keyword = _CAPITAL.sub("-", error.kind.name).lower()
    return _payload_fault(error.instance_path, f"schema-{keyword}", error.message)


def _payload_fault(path: Sequence[str | int], code: str, message: str) -> FieldError:
    return FieldError(_pointer("/payload", path), code, message[:MESSAGE_LENGTH])


def _schema_fault(path: Sequence[str | int], code: str, message: str) -> FieldError:
    return FieldError(_pointer("/schema", path), code, message[:MESSAGE_LENGTH])


def _pointer(top: str, path: Sequence[str | int]) -> str:
    parts = (str(part)[:64].replace("~", "~0").replace("/", "~1") for part in path)
    return "/".join((top, *parts))
