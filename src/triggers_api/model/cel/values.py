"""What operators and functions do with values. Pure.

Values are JSON's: ``None``, ``bool``, ``int``, ``float``, ``str``, ``list``, ``dict``. Every operation
whose work grows with its operands says so to the budget before it is done.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from triggers_api.errors import TriggersError

Value = Any
"""A decoded JSON value."""

_LARGEST_INT: Final = (1 << 63) - 1
_SMALLEST_INT: Final = -_LARGEST_INT - 1
_READ_A_STEP: Final = 256
"""Characters that are looked at in the time of one step."""
_SEARCHED_A_STEP: Final = 64
"""Characters that are searched in it, at the worst."""
_WRITTEN_A_STEP: Final = 64
"""Characters made anew; fewer, because they also take memory."""
_REFERENCES_A_STEP: Final = 8
"""Entries of a list made anew."""

_INTEGER: Final = re.compile(r"[+-]?[0-9]{1,19}", re.ASCII)
_DOUBLE: Final = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?", re.ASCII)


class EvaluationFault(TriggersError):
    """An expression that has no value for this event; ``code`` is for counting, the text for people.

    Attributes:
        code: ``missing-field``, ``wrong-type``, ``arithmetic``, ``unreadable`` or ``too-costly``.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code


class TooCostly(EvaluationFault):
    """The budget is used up; unlike other faults this one ends the evaluation wherever it happens."""

    def __init__(self, steps: int) -> None:
        super().__init__("too-costly", f"it takes more than {steps} steps for this event")


class Budget:
    """How many steps an evaluation may still take; a step is about what one operator costs."""

    __slots__ = ("_steps", "left")

    def __init__(self, steps: int) -> None:
        self._steps = self.left = steps

    def spend(self, steps: int) -> None:
        """Take steps.

        Raises:
            TooCostly: there are not so many left.
        """
        self.left -= steps
        if self.left < 0:
            raise TooCostly(self._steps)


def kind(value: Value) -> str:
    """The name of a value's type."""
    return _KINDS[type(value)]


_KINDS: Final = {
    type(None): "null", bool: "bool", int: "int", float: "double", str: "string", list: "list",
    dict: "map",
}  # fmt: skip
_NUMBERS: Final = frozenset({int, float})
_KEYS: Final = frozenset({str, int, float, bool})


def equal(left: Value, right: Value, budget: Budget) -> bool:
    """Whether two values are the same; numbers by their value, values of different types never are."""
    a, b = type(left), type(right)
    if a is not b:
        return a in _NUMBERS and b in _NUMBERS and bool(left == right)
    if a is list:
        if len(left) != len(right):
            return False
        budget.spend(1 + 2 * len(left))
        return all(equal(x, y, budget) for x, y in zip(left, right, strict=True))
    if a is dict:
        if len(left) != len(right):
            return False
        budget.spend(1 + 2 * len(left))
        return all(key in right and equal(value, right[key], budget) for key, value in left.items())
    if a is str and len(left) == len(right):
        budget.spend(len(left) // _READ_A_STEP)
    return bool(left == right)


def compare(operator: str) -> Callable[[Value, Value, Budget], bool]:
    """``<``, ``<=``, ``>`` or ``>=``: of numbers, of strings by code point, of booleans."""
    test: Callable[[Value, Value], bool] = _ORDERS[operator]

    def compared(left: Value, right: Value, budget: Budget) -> bool:
        a, b = type(left), type(right)
        if a is str is b:
            budget.spend(min(len(left), len(right)) // _READ_A_STEP)
        elif not ((a in _NUMBERS and b in _NUMBERS) or a is bool is b):
            raise _no_such(operator, left, right)
        return test(left, right)

    return compared


_ORDERS: Final[dict[str, Callable[[Value, Value], bool]]] = {
    "<": lambda a, b: a < b,
    "<=": lambda a, b: a <= b,
    ">": lambda a, b: a > b,
    ">=": lambda a, b: a >= b,
}


def contained(item: Value, whole: Value, budget: Budget) -> bool:
    """``item in whole``: a value of a list, a key of a map."""
    if type(whole) is list:
        for each in whole:
            budget.spend(1)
            if equal(item, each, budget):
                return True
        return False
    if type(whole) is dict and type(item) in _KEYS:
        return type(item) is str and item in whole
    raise _no_such("in", item, whole)


def add(left: Value, right: Value, budget: Budget) -> Value:
    """``left + right``: of integers, doubles, strings or lists."""
    a, b = type(left), type(right)
    if a is b:
        if a is int:
            return _in_range(left + right)
        if a is float:
            return left + right
        if a is str:
            budget.spend((len(left) + len(right)) // _WRITTEN_A_STEP)
            return left + right
        if a is list:
            budget.spend((len(left) + len(right)) // _REFERENCES_A_STEP)
            return left + right
    raise _no_such("+", left, right)


def subtract(left: Value, right: Value, _: Budget) -> Value:
    """``left - right``."""
    _same_numbers("-", left, right)
    return _in_range(left - right)


def multiply(left: Value, right: Value, _: Budget) -> Value:
    """``left * right``."""
    _same_numbers("*", left, right)
    return _in_range(left * right)


def divide(left: Value, right: Value, _: Budget) -> Value:
    """``left / right``: of integers towards zero."""
    _same_numbers("/", left, right)
    if type(left) is int:
        if right == 0:
            raise EvaluationFault("arithmetic", "division by zero")
        quotient = abs(left) // abs(right)
        return _in_range(quotient if (left < 0) == (right < 0) else -quotient)
    if right == 0.0:
        raise EvaluationFault("arithmetic", "division by zero")
    return left / right


def remainder(left: Value, right: Value, _: Budget) -> Value:
    """``left % right``: of integers, with the sign of ``left``."""
    if not (type(left) is int is type(right)):
        raise _no_such("%", left, right)
    if right == 0:
        raise EvaluationFault("arithmetic", "division by zero")
    rest = abs(left) % abs(right)
    return _in_range(-rest if left < 0 else rest)


def negate(value: Value, _: Budget) -> Value:
    """``-value``."""
    if type(value) not in _NUMBERS:
        raise EvaluationFault("wrong-type", f"there is no - for {kind(value)}")
    return _in_range(-value)


def invert(value: Value, _: Budget) -> bool:
    """``!value``."""
    if type(value) is not bool:
        raise EvaluationFault("wrong-type", f"there is no ! for {kind(value)}")
    return not value


def _same_numbers(operator: str, left: Value, right: Value) -> None:
    if type(left) is not type(right) or type(left) not in _NUMBERS:
        raise _no_such(operator, left, right)


def _in_range(number: Value) -> Value:
    if type(number) is int and not _SMALLEST_INT <= number <= _LARGEST_INT:
        raise EvaluationFault("arithmetic", "the integer does not fit into 64 bits")
    return number


def _no_such(operator: str, left: Value, right: Value) -> EvaluationFault:
    return EvaluationFault("wrong-type", f"there is no {kind(left)} {operator} {kind(right)}")


def size(value: Value, _: Budget) -> int:
    """Characters of a string, values of a list, entries of a map."""
    if type(value) not in {str, list, dict}:
        raise EvaluationFault("wrong-type", f"there is no size() of {kind(value)}")
    return len(value)


def text_test(name: str) -> Callable[[Value, Value, Budget], bool]:
    """``contains``, ``startsWith`` or ``endsWith``."""
    test = _TEXT_TESTS[name]

    def tested(whole: Value, part: Value, budget: Budget) -> bool:
        if not (type(whole) is str is type(part)):
            raise EvaluationFault(
                "wrong-type", f"there is no {name}() of {kind(whole)} with {kind(part)}"
            )
        budget.spend((len(whole) + len(part)) // _SEARCHED_A_STEP)
        return test(whole, part)

    return tested


_TEXT_TESTS: Final[dict[str, Callable[[str, str], bool]]] = {
    "contains": lambda whole, part: part in whole,
    "startsWith": str.startswith,
    "endsWith": str.endswith,
}


def to_int(value: Value, _: Budget) -> int:
    """An integer from a number, towards zero, or from decimal digits."""
    if type(value) is int:
        return int(_in_range(value))
    if type(value) is float and _SMALLEST_INT < value < _LARGEST_INT:
        return int(value)
    if type(value) is str and _INTEGER.fullmatch(value):
        return int(_in_range(int(value)))
    raise EvaluationFault("wrong-type", f"this {kind(value)} is no int")


def to_double(value: Value, _: Budget) -> float:
    """A double from a number or from its decimal spelling."""
    if type(value) in _NUMBERS or (
        type(value) is str and len(value) <= 400 and _DOUBLE.fullmatch(value)
    ):
        try:
            return float(value)
        except OverflowError:
            pass
    raise EvaluationFault("wrong-type", f"this {kind(value)} is no double")


def to_string(value: Value, _: Budget) -> str:
    """A string from a string, an integer or a boolean."""
    if type(value) is str:
        return value
    if type(value) is bool:
        return "true" if value else "false"
    if type(value) is int:
        return str(_in_range(value))
    raise EvaluationFault("wrong-type", f"there is no string() of {kind(value)}")


def selected(whole: Value, field: str) -> Value:
    """``whole.field``."""
    if type(whole) is dict:
        try:
            return whole[field]
        except KeyError:
            raise EvaluationFault("missing-field", f"there is no field {field!r}") from None
    if whole is None:
        raise EvaluationFault("missing-field", f"there is no field {field!r} of null")
    raise EvaluationFault("wrong-type", f"there is no field {field!r} of {kind(whole)}")


def has(whole: Value, field: str) -> bool:
    """``has(whole.field)``."""
    if type(whole) is dict:
        return field in whole
    raise EvaluationFault("wrong-type", f"there are no fields of {kind(whole)}")


def indexed(whole: Value, at: Value) -> Value:
    """``whole[at]``."""
    if type(whole) is dict and type(at) is str:
        return selected(whole, at)
    if type(whole) is list and (type(at) is int or (type(at) is float and at.is_integer())):
        place = int(at)
        if 0 <= place < len(whole):
            return whole[place]
        raise EvaluationFault("missing-field", f"there is no entry {place} of {len(whole)}")
    if whole is None:
        raise EvaluationFault("missing-field", "there is no entry of null")
    raise EvaluationFault("wrong-type", f"there is no {kind(whole)}[{kind(at)}]")
