"""From an expression's tree to something that can be run: closures, one for each node. Pure."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from triggers_api.model.cel import values
from triggers_api.model.cel.syntax import (
    Call,
    Choice,
    ExpressionFault,
    Index,
    Items,
    Junction,
    Literal,
    Macro,
    Name,
    Node,
    Select,
    parse,
)
from triggers_api.model.cel.values import Budget, EvaluationFault, TooCostly, Value

Variables = Mapping[str, Callable[[Any], Value]]
"""The names an expression may use, and how each is read from what it is about."""


class Frame:
    """One evaluation under way: what it is about, the macros' variables, and what may still be spent."""

    __slots__ = ("about", "budget", "slots")

    def __init__(self, about: Any, slots: int, budget: Budget) -> None:  # noqa: ANN401 - the caller's
        self.about = about
        self.slots: list[Value] = [None] * slots
        self.budget = budget


Run = Callable[[Frame], Value]


class Part(NamedTuple):
    """An expression that stands between two outermost ``&&``, as it was written."""

    text: str
    run: Run


class Program:
    """A compiled expression."""

    __slots__ = ("_run", "_slots", "parts")

    def __init__(self, run: Run, slots: int, parts: tuple[Part, ...]) -> None:
        self._run = run
        self._slots = slots
        self.parts = parts
        """What is between the outermost ``&&``; the expression itself where there is none."""

    def holds(self, about: Any, *, steps: int) -> bool:  # noqa: ANN401 - what the variables read
        """Whether it is true.

        Raises:
            EvaluationFault: it is neither true nor false, or takes more steps than that.
        """
        return self._truth(self._run, about, steps)

    def part_holds(self, part: Part, about: Any, *, steps: int) -> bool:  # noqa: ANN401
        """As :meth:`holds`, of one of its parts."""
        return self._truth(part.run, about, steps)

    def _truth(self, run: Run, about: Any, steps: int) -> bool:  # noqa: ANN401
        found = run(Frame(about, self._slots, Budget(steps)))
        if type(found) is not bool:
            raise _not_a_truth(found)
        return found


def compile_expression(text: str, variables: Variables, kinds: Mapping[str, str]) -> Program:
    """Parse, check and compile a condition.

    Args:
        text: the expression.
        variables: the names it may use.
        kinds: of those variables whose type is the same for every event, the type.

    Raises:
        ExpressionFault: it cannot be used; with the place.
    """
    tree = parse(text)
    compiler = _Compiler(variables, kinds)
    if isinstance(tree.root, Junction) and len(tree.parts) > 1:
        parts = tuple(Part(written, compiler.run(node)) for written, node in tree.parts)
        for _, node in tree.parts:
            compiler.check_truth(node)
        return Program(_all_of([part.run for part in parts]), compiler.slots, parts)
    run = compiler.run(tree.root)
    compiler.check_truth(tree.root)
    return Program(run, compiler.slots, (Part(tree.parts[0][0], run),))


_BINARY: Final[dict[str, Callable[[Value, Value, Budget], Value]]] = {
    "==": values.equal,
    "!=": lambda left, right, budget: not values.equal(left, right, budget),
    "in": values.contained,
    "+": values.add,
    "-": values.subtract,
    "*": values.multiply,
    "/": values.divide,
    "%": values.remainder,
} | {operator: values.compare(operator) for operator in ("<", "<=", ">", ">=")}

_UNARY: Final[dict[str, Callable[[Value, Budget], Value]]] = {
    "!_": values.invert,
    "-_": values.negate,
}
_FUNCTIONS: Final[dict[str, Callable[[Value, Budget], Value]]] = {
    "size": values.size,
    "int": values.to_int,
    "double": values.to_double,
    "string": values.to_string,
}
_METHODS: Final[dict[str, Callable[[Value, Value, Budget], Value]]] = {
    name: values.text_test(name) for name in ("contains", "startsWith", "endsWith")
}
_KNOWN: Final = (
    "has(x.field), size(x), int(x), double(x), string(x), x.contains(y), x.startsWith(y), "
    "x.endsWith(y), x.all(v, …), x.exists(v, …), x.exists_one(v, …), x.filter(v, …), x.map(v, …)"
)

_FAULT_STEPS: Final = 16
"""What raising and catching costs beside an operator."""

_TRUTHS: Final = frozenset({"==", "!=", "in", "<", "<=", ">", ">=", "!_"})
_NUMBERS: Final = frozenset({"int", "double"})


class _Compiler:
    """Closures for nodes, and what is known of their types before there is an event."""

    def __init__(self, variables: Variables, kinds: Mapping[str, str]) -> None:
        self._variables = variables
        self._kinds = kinds
        self._scope: dict[str, int] = {}
        self.slots = 0

    def check_truth(self, node: Node) -> None:
        """Refuse what can be neither true nor false.

        Raises:
            ExpressionFault: with the place.
        """
        found = self._kind(node)
        if found not in {None, "bool"}:
            raise ExpressionFault(
                "invalid-type", f"must come to true or false, not to {found}", node.offset
            )

    def run(self, node: Node) -> Run:  # noqa: PLR0911 - one return for each kind of node
        match node:
            case Literal(value):
                return lambda _: value
            case Name():
                return self._name(node)
            case Select(of, field, asks=asks):
                whole, read = self.run(of), values.has if asks else values.selected
                return lambda frame: read(whole(frame), field)
            case Index(of, at):
                whole, place = self.run(of), self.run(at)
                return lambda frame: values.indexed(whole(frame), place(frame))
            case Items(items):
                return _items([self.run(item) for item in items])
            case Junction(operator, parts):
                for part in parts:
                    self.check_truth(part)
                return (_all_of if operator == "&&" else _one_of)([self.run(p) for p in parts])
            case Choice(condition, then, otherwise):
                self.check_truth(condition)
                return _choice(self.run(condition), self.run(then), self.run(otherwise))
            case Macro():
                return self._macro(node)
            case Call():
                return self._call(node)

    def _name(self, node: Name) -> Run:
        slot = self._scope.get(node.name)
        if slot is not None:
            return lambda frame: frame.slots[slot]
        read = self._variables.get(node.name)
        if read is None:
            raise ExpressionFault(
                "unknown-name",
                f"there is no {node.name!r}; there are {', '.join(self._variables)}",
                node.offset,
            )
        return lambda frame: read(frame.about)

    def _call(self, node: Call) -> Run:
        name, arguments = node.function, node.arguments
        if name in _UNARY:
            if name == "!_":
                self.check_truth(arguments[0])
            return _on_one(_UNARY[name], self.run(arguments[0]))
        if name in _BINARY:
            self._check_operands(node)
            return _on_two(_BINARY[name], *(self.run(each) for each in arguments))
        if name in _FUNCTIONS and len(arguments) == 1 and (name == "size" or not node.is_method):
            return _on_one(_FUNCTIONS[name], self.run(arguments[0]))
        if name in _METHODS and node.is_method and len(arguments) == 2:
            return _on_two(_METHODS[name], *(self.run(each) for each in arguments))
        if name == "matches":
            raise ExpressionFault(
                "not-supported",
                "regular expressions are not supported; there are contains, startsWith and endsWith",
                node.offset,
            )
        raise ExpressionFault(
            "unknown-function",
            f"there is no such {name}(…); there are {_KNOWN}",
            node.offset,
        )

    def _check_operands(self, node: Call) -> None:
        left, right = (self._kind(each) for each in node.arguments)
        if left is None or right is None or node.function == "in":
            return
        alike = left == right or (left in _NUMBERS and right in _NUMBERS)
        if node.function in {"==", "!="}:
            fits = alike or "null" in {left, right}
        elif node.function in _TRUTHS:
            fits = alike and left in {"int", "double", "string", "bool"}
        elif node.function == "+":
            fits = left == right and left in {"int", "double", "string", "list"}
        else:
            fits = left == right and left in _NUMBERS
        if not fits:
            raise ExpressionFault(
                "invalid-type", f"there is no {left} {node.function} {right}", node.offset
            )

    def _kind(self, node: Node) -> str | None:  # noqa: PLR0911 - see run
        """The type that a node's value has for every event, where there is one."""
        match node:
            case Literal(value):
                return values.kind(value)
            case Name(name) if name not in self._scope:
                return self._kinds.get(name)
            case Select(asks=True) | Junction():
                return "bool"
            case Items():
                return "list"
            case Macro(macro):
                return "list" if macro in {"filter", "map"} else "bool"
            case Call(function, arguments):
                if function in _TRUTHS or function in _METHODS:
                    return "bool"
                if function in {"string", "double", "int"}:
                    return function
                if function == "size":
                    return "int"
                kinds = {self._kind(each) for each in arguments}
                return kinds.pop() if len(kinds) == 1 else None
        return None

    def _macro(self, node: Macro) -> Run:
        over = self.run(node.range)
        if node.variable in self._variables:
            raise ExpressionFault(
                "invalid-name", f"{node.variable!r} is a variable already", node.offset
            )
        slot, self.slots = self.slots, self.slots + 1
        outer = self._scope
        self._scope = {**outer, node.variable: slot}
        bodies = [self.run(body) for body in node.bodies]
        if node.macro != "map" or len(bodies) == 2:
            self.check_truth(node.bodies[0])
        self._scope = outer
        cost = 1 + sum(_nodes(body) for body in node.bodies)
        return _MACROS[node.macro](_Loop(over, slot, cost), bodies)


def _nodes(node: Node) -> int:
    """How many nodes are evaluated for one value; those of a macro inside count themselves again."""
    match node:
        case Select(of):
            return 1 + _nodes(of)
        case Index(of, at):
            return 1 + _nodes(of) + _nodes(at)
        case Items(items) | Junction(parts=items) | Call(arguments=items):
            return 1 + sum(map(_nodes, items))
        case Choice(condition, then, otherwise):
            return 1 + _nodes(condition) + _nodes(then) + _nodes(otherwise)
        case Macro(range=over):
            return 1 + _nodes(over)
    return 1


class _Loop(NamedTuple):
    """Over what a macro goes, where its variable lies, and what a round costs."""

    over: Run
    slot: int
    cost: int

    def values(self, frame: Frame) -> Sequence[Value]:
        whole = self.over(frame)
        if type(whole) is list:
            return whole
        if type(whole) is dict:
            frame.budget.spend(len(whole) // 8)
            return list(whole)
        if whole is None:
            raise EvaluationFault("missing-field", "there is nothing in null to go over")
        raise EvaluationFault("wrong-type", f"there is nothing in {values.kind(whole)} to go over")


def _on_one(apply: Callable[[Value, Budget], Value], of: Run) -> Run:
    return lambda frame: apply(of(frame), frame.budget)


def _on_two(apply: Callable[[Value, Value, Budget], Value], first: Run, second: Run) -> Run:
    return lambda frame: apply(first(frame), second(frame), frame.budget)


def _items(items: Sequence[Run]) -> Run:
    return lambda frame: [item(frame) for item in items]


def _choice(condition: Run, then: Run, otherwise: Run) -> Run:
    def run(frame: Frame) -> Value:
        return then(frame) if _truth(condition(frame)) else otherwise(frame)

    return run


def _truth(value: Value) -> bool:
    if type(value) is not bool:
        raise _not_a_truth(value)
    return value


def _not_a_truth(value: Value) -> EvaluationFault:
    return EvaluationFault("wrong-type", f"true or false is expected, not {values.kind(value)}")


def _decided(parts: Sequence[Run], *, by: bool) -> Run:
    """A junction: one part that is ``by`` decides it, whatever faults the others have.

    Spec: langdef.md, "Logical Operators".
    """

    def run(frame: Frame) -> bool:
        fault: EvaluationFault | None = None
        for part in parts:
            try:
                if _truth(part(frame)) is by:
                    return by
            except TooCostly:
                raise
            except EvaluationFault as met:
                frame.budget.spend(_FAULT_STEPS)
                fault = fault or met
        if fault is not None:
            raise fault
        return not by

    return run


def _all_of(parts: Sequence[Run]) -> Run:
    return _decided(parts, by=False)


def _one_of(parts: Sequence[Run]) -> Run:
    return _decided(parts, by=True)


def _quantified(loop: _Loop, bodies: Sequence[Run], *, by: bool) -> Run:
    (body,) = bodies
    slot, cost = loop.slot, loop.cost

    def run(frame: Frame) -> bool:
        fault: EvaluationFault | None = None
        slots, spend = frame.slots, frame.budget.spend
        for slots[slot] in loop.values(frame):
            spend(cost)
            try:
                if _truth(body(frame)) is by:
                    return by
            except TooCostly:
                raise
            except EvaluationFault as met:
                frame.budget.spend(_FAULT_STEPS)
                fault = fault or met
        if fault is not None:
            raise fault
        return not by

    return run


def _exists_one(loop: _Loop, bodies: Sequence[Run]) -> Run:
    (body,) = bodies
    slot, cost = loop.slot, loop.cost

    def run(frame: Frame) -> bool:
        count, slots = 0, frame.slots
        for slots[slot] in loop.values(frame):
            frame.budget.spend(cost)
            count += _truth(body(frame))
        return count == 1

    return run


def _filter(loop: _Loop, bodies: Sequence[Run]) -> Run:
    (body,) = bodies
    return _collected(loop, body, lambda frame: frame.slots[loop.slot])


def _map(loop: _Loop, bodies: Sequence[Run]) -> Run:
    *tests, body = bodies
    return _collected(loop, tests[0] if tests else lambda _: True, body)


def _collected(loop: _Loop, test: Run, body: Run) -> Run:
    slot, cost = loop.slot, loop.cost

    def run(frame: Frame) -> list[Value]:
        found, slots = [], frame.slots
        for slots[slot] in loop.values(frame):
            frame.budget.spend(cost)
            if _truth(test(frame)):
                found.append(body(frame))
        return found

    return run


_MACROS: Final[dict[str, Callable[[_Loop, Sequence[Run]], Run]]] = {
    "all": lambda loop, bodies: _quantified(loop, bodies, by=False),
    "exists": lambda loop, bodies: _quantified(loop, bodies, by=True),
    "exists_one": _exists_one,
    "filter": _filter,
    "map": _map,
}
