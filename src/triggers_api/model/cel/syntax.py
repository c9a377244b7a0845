"""From the text of an expression to its tree, or to a fault with its place. Pure.

The grammar is that of the CEL specification (github.com/google/cel-spec, doc/langdef.md), without
unsigned integers, bytes, map and message literals.
"""

import re
from typing import Final, NamedTuple

import msgspec

from triggers_api.errors import TriggersError

LENGTH_LIMIT: Final = 2048
"""Characters of an expression."""

NODE_LIMIT: Final = 400
"""Literals, names, operators and calls of an expression."""

DEPTH_LIMIT: Final = 32
"""Levels of an expression, brackets included; a chain of ``&&`` or ``||`` is one."""

MACRO_DEPTH_LIMIT: Final = 3
"""Levels of ``all``, ``exists``, ``exists_one``, ``filter`` and ``map`` inside each other."""

_LARGEST_INT: Final = (1 << 63) - 1


class ExpressionFault(TriggersError):
    """An expression that cannot be used: why, as a code and in words, and where.

    Attributes:
        code: ``syntax-error``, ``unknown-name``, ``unknown-function``, ``not-supported``,
            ``invalid-type``, ``invalid-name``, ``invalid-length``, ``too-complex`` or ``too-deep``.
        message: in words, without the place.
        offset: characters before the place.
    """

    def __init__(self, code: str, message: str, offset: int) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.offset = offset


class Literal(msgspec.Struct, frozen=True):
    """A constant."""

    value: None | bool | int | float | str
    offset: int


class Name(msgspec.Struct, frozen=True):
    """A variable."""

    name: str
    offset: int


class Select(msgspec.Struct, frozen=True):
    """``of.field``; as ``has(of.field)`` it asks whether there is one."""

    of: "Node"
    field: str
    offset: int
    asks: bool = False


class Index(msgspec.Struct, frozen=True):
    """``of[at]``."""

    of: "Node"
    at: "Node"
    offset: int


class Items(msgspec.Struct, frozen=True):
    """``[a, b]``."""

    items: tuple["Node", ...]
    offset: int


class Call(msgspec.Struct, frozen=True):
    """A function or an operator; a method's target is the first of its arguments."""

    function: str
    arguments: tuple["Node", ...]
    offset: int
    is_method: bool = False


class Junction(msgspec.Struct, frozen=True):
    """A chain of ``&&`` or of ``||``."""

    operator: str
    parts: tuple["Node", ...]
    offset: int


class Choice(msgspec.Struct, frozen=True):
    """``condition ? then : otherwise``."""

    condition: "Node"
    then: "Node"
    otherwise: "Node"
    offset: int


class Macro(msgspec.Struct, frozen=True):
    """``range.macro(variable, bodies…)``."""

    macro: str
    range: "Node"
    variable: str
    bodies: tuple["Node", ...]
    offset: int


Node = Literal | Name | Select | Index | Items | Call | Junction | Choice | Macro


class Tree(NamedTuple):
    """An expression, and its parts between the outermost ``&&``, each as it was written."""

    root: Node
    parts: tuple[tuple[str, Node], ...]


class _Token(NamedTuple):
    kind: str
    text: str
    start: int
    end: int


_TOKEN: Final = re.compile(
    r"""
    (?P<space> (?: [\t\n\f\r\ ] | //[^\n]* )+ )
  | (?P<string> (?P<prefix>[rRbB]{0,2}) (?:
        '''(?:[^\\]|\\.)*?''' | \"\"\"(?:[^\\]|\\.)*?\"\"\"
      | '(?:[^'\\\n\r]|\\.)*' | "(?:[^"\\\n\r]|\\.)*" ) )
  | (?P<name> [A-Za-z_][A-Za-z0-9_]* )
  | (?P<float> [0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)? | [0-9]+[eE][+-]?[0-9]+ )
  | (?P<int> 0x[0-9a-fA-F]+ | [0-9]+ )
  | (?P<sign> && | \|\| | [=!<>]= | [-+*/%!<>?:.,()\[\]{}] )
    """,
    re.VERBOSE | re.DOTALL | re.ASCII,
)
_ESCAPE: Final = re.compile(
    r"\\(?:([abfnrtv\\?\"'`])|[xX]([0-9a-fA-F]{2})|u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8})|([0-3][0-7]{2})|(.|$))",
    re.DOTALL,
)
_PLAIN_ESCAPES: Final = {
    "a": "\a", "b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t", "v": "\v",
}  # fmt: skip
_KEYWORDS: Final = frozenset({"in", "true", "false", "null"})
_RESERVED: Final = frozenset(
    {
        "as", "break", "const", "continue", "else", "for", "function", "if", "import", "let", "loop",
        "namespace", "package", "return", "var", "void", "while",
    }
)  # fmt: skip
_LEVELS: Final = (
    frozenset({"||"}),
    frozenset({"&&"}),
    frozenset({"==", "!=", "<", "<=", ">", ">=", "in"}),
    frozenset({"+", "-"}),
    frozenset({"*", "/", "%"}),
)
_AND_LEVEL: Final = 1
_MACROS: Final = {
    "all": (2,), "exists": (2,), "exists_one": (2,), "filter": (2,), "map": (2, 3),
}  # fmt: skip


def parse(text: str) -> Tree:
    """The tree of an expression.

    Raises:
        ExpressionFault: it is not one, or over a bound.
    """
    if len(text) > LENGTH_LIMIT:
        raise ExpressionFault(
            "invalid-length", f"must be at most {LENGTH_LIMIT} characters", LENGTH_LIMIT
        )
    return _Parser(text).tree()


def _tokens(text: str) -> list[_Token]:
    found: list[_Token] = []
    at = 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        if match is None:
            what = (
                "a string that does not end" if text[at] in "'\"" else f"{text[at]!r} means nothing"
            )
            raise ExpressionFault("syntax-error", what, at)
        kind = match.lastgroup or ""
        if kind == "int" and text[match.end() : match.end() + 1] in {"u", "U"}:
            raise ExpressionFault("not-supported", "unsigned integers are not supported", at)
        if kind != "space":
            found.append(_Token("string" if kind == "prefix" else kind, match[0], at, match.end()))
        at = match.end()
    found.append(_Token("end", "", len(text), len(text)))
    return found


class _Parser:
    """Recursive descent, one method a level of the grammar."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._tokens = _tokens(text)
        self._at = 0
        self._depth = 0
        self._macros = 0
        self._nodes = 0

    @property
    def _next(self) -> _Token:
        return self._tokens[self._at]

    def tree(self) -> Tree:
        if self._next.kind == "end":
            raise self._fault("an expression is expected")
        parts: list[tuple[str, Node]] = []
        root = self._expression(parts)
        if self._next.kind != "end":
            raise self._fault(f"{self._shown()} is not expected here")
        if not (isinstance(root, Junction) and root.operator == "&&" and len(parts) > 1):
            parts = [(self._text.strip(), root)]
        return Tree(root, tuple(parts))

    def _fault(self, message: str) -> ExpressionFault:
        return ExpressionFault("syntax-error", message, self._next.start)

    def _shown(self) -> str:
        return f"{self._next.text!r}" if self._next.text else "the end"

    def _take(self, *texts: str) -> _Token | None:
        token = self._next
        if token.kind in {"sign", "name"} and token.text in texts:
            self._at += 1
            return token
        return None

    def _expect(self, text: str) -> _Token:
        token = self._take(text)
        if token is None:
            raise self._fault(f"{text!r} is expected, not {self._shown()}")
        return token

    def _count(self) -> None:
        self._nodes += 1
        if self._nodes > NODE_LIMIT:
            raise ExpressionFault(
                "too-complex",
                f"must have at most {NODE_LIMIT} literals, names, operators and calls",
                self._next.start,
            )

    def _deeper(self, levels: int = 1) -> None:
        self._depth += levels
        if self._depth > DEPTH_LIMIT:
            raise ExpressionFault(
                "too-deep", f"must be at most {DEPTH_LIMIT} levels deep", self._next.start
            )

    def _expression(self, parts: list[tuple[str, Node]] | None = None) -> Node:
        self._deeper()
        condition = self._binary(0, parts)
        question = self._take("?")
        if question is not None:
            self._count()
            then = self._binary(0)
            self._expect(":")
            otherwise = self._expression()
            condition = Choice(condition, then, otherwise, question.start)
        self._depth -= 1
        return condition

    def _binary(self, level: int, parts: list[tuple[str, Node]] | None = None) -> Node:
        if level == len(_LEVELS):
            return self._unary()
        start = self._next.start
        left = self._binary(level + 1, parts)
        if level < 2:
            return self._junction(level, left, start, parts)
        links = 0
        while (operator := self._take(*_LEVELS[level])) is not None:
            self._count()
            self._deeper()
            links += 1
            left = Call(operator.text, (left, self._binary(level + 1)), operator.start)
        self._depth -= links
        return left

    def _junction(
        self, level: int, left: Node, start: int, parts: list[tuple[str, Node]] | None
    ) -> Node:
        (operator,) = _LEVELS[level]
        operands = [left]
        written = [(self._text[start : self._tokens[self._at - 1].end], left)]
        first = self._next.start
        while self._take(operator) is not None:
            self._count()
            start = self._next.start
            operands.append(self._binary(level + 1))
            written.append((self._text[start : self._tokens[self._at - 1].end], operands[-1]))
        if len(operands) == 1:
            return left
        if parts is not None and level == _AND_LEVEL:
            parts[:] = written
        return Junction(operator, tuple(operands), first)

    def _unary(self) -> Node:
        operator = self._take("!", "-")
        if operator is None:
            return self._member()
        if operator.text == "-" and self._next.kind in {"int", "float"}:
            return self._member(negative=True)
        self._count()
        self._deeper()
        operand = self._unary()
        self._depth -= 1
        return Call(f"{operator.text}_", (operand,), operator.start)

    def _member(self, *, negative: bool = False) -> Node:
        of = self._primary(negative=negative)
        links = 0
        while (operator := self._take(".", "[")) is not None:
            self._count()
            self._deeper()
            links += 1
            if operator.text == "[":
                of = Index(of, self._expression(), operator.start)
                self._expect("]")
            else:
                of = self._selected(of)
        self._depth -= links
        return of

    def _selected(self, of: Node) -> Node:
        field = self._next
        if field.kind != "name" or field.text in _KEYWORDS:
            raise self._fault(f"the name of a field is expected, not {self._shown()}")
        self._at += 1
        if self._take("(") is None:
            return Select(of, field.text, field.start)
        counts = _MACROS.get(field.text)
        if counts is not None:
            return self._macro(of, field, counts)
        return Call(field.text, (of, *self._list(")")), field.start, is_method=True)

    def _macro(self, of: Node, macro: _Token, counts: tuple[int, ...]) -> Node:
        self._macros += 1
        if self._macros > MACRO_DEPTH_LIMIT:
            raise ExpressionFault(
                "too-deep",
                f"at most {MACRO_DEPTH_LIMIT} of {', '.join(_MACROS)} may be inside each other",
                macro.start,
            )
        variable, *bodies = self._list(")") or (Literal(None, macro.start),)
        if not isinstance(variable, Name) or 1 + len(bodies) not in counts:
            raise ExpressionFault(
                "syntax-error",
                f"{macro.text} takes the name of a variable and "
                + ("an expression" if counts == (2,) else "one or two expressions"),
                macro.start,
            )
        self._macros -= 1
        return Macro(macro.text, of, variable.name, tuple(bodies), macro.start)

    def _primary(self, *, negative: bool) -> Node:
        token = self._next
        if token.kind in {"int", "float"}:
            self._count()
            self._at += 1
            return Literal(_number(token, negative=negative), token.start)
        if token.kind == "string":
            self._count()
            self._at += 1
            return Literal(_string(token), token.start)
        if token.kind == "name":
            return self._named()
        if self._take("(") is not None:
            inner = self._expression()
            self._expect(")")
            return inner
        if self._take("[") is not None:
            self._count()
            return Items(self._list("]"), token.start)
        if token.text == "{":
            raise ExpressionFault("not-supported", "map literals are not supported", token.start)
        raise self._fault(f"a value is expected, not {self._shown()}")

    def _named(self) -> Node:
        self._count()
        token = self._next
        if token.text in _RESERVED or token.text == "in":
            raise self._fault(f"{token.text!r} is a reserved word")
        self._at += 1
        constants = {"true": True, "false": False, "null": None}
        if token.text in constants:
            return Literal(constants[token.text], token.start)
        if self._take("(") is None:
            return Name(token.text, token.start)
        arguments = self._list(")")
        if token.text == "has":
            return _asking(arguments, token)
        return Call(token.text, arguments, token.start)

    def _list(self, closing: str) -> tuple[Node, ...]:
        found: list[Node] = []
        while self._take(closing) is None:
            found.append(self._expression())
            if self._take(",") is None:
                self._expect(closing)
                break
            if closing == ")" and self._next.text == closing:
                raise self._fault(f"a value is expected, not {self._shown()}")
        return tuple(found)


def _asking(arguments: tuple[Node, ...], token: _Token) -> Node:
    if len(arguments) != 1 or not isinstance(arguments[0], Select) or arguments[0].asks:
        raise ExpressionFault(
            "syntax-error", "has() takes a field, as in has(payload.field)", token.start
        )
    return msgspec.structs.replace(arguments[0], asks=True)


def _number(token: _Token, *, negative: bool) -> int | float:
    sign = -1 if negative else 1
    if token.kind == "float":
        number = float(token.text)
        if number == float("inf"):
            raise ExpressionFault("syntax-error", "the number is too large", token.start)
        return sign * number
    value = sign * int(token.text, 16 if token.text.startswith("0x") else 10)
    if not -_LARGEST_INT - 1 <= value <= _LARGEST_INT:
        raise ExpressionFault("syntax-error", "the integer does not fit into 64 bits", token.start)
    return value


def _string(token: _Token) -> str:
    quoted = token.text.lstrip("rRbB")
    prefix = token.text.removesuffix(quoted).lower()
    if "b" in prefix:
        raise ExpressionFault("not-supported", "bytes are not supported", token.start)
    width = 3 if len(quoted) >= 6 and quoted[:3] in {"'''", '"""'} else 1
    body = quoted[width:-width]
    if prefix:
        return body

    def unescaped(match: re.Match[str]) -> str:
        plain, two, four, eight, octal, _ = match.groups()
        if plain is not None:
            return _PLAIN_ESCAPES.get(plain, plain)
        digits, base = (octal, 8) if octal is not None else (two or four or eight, 16)
        point = int(digits, base) if digits is not None else -1
        if not 0 <= point <= 0x10FFFF or 0xD800 <= point <= 0xDFFF:
            raise ExpressionFault(
                "syntax-error",
                f"{match[0]!r} in a string is no character",
                token.start + len(prefix) + width + match.start(),
            )
        return chr(point)

    return _ESCAPE.sub(unescaped, body)
