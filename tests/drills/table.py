"""A DynamoDB table in memory: a client with the few calls of ``JobTable``, a thousand a second.

Conditions, updates and what a refusal returns follow the documentation:
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.OperatorsAndFunctions.html
https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Expressions.UpdateExpressions.html
A comparison with an attribute that is not there is false. An update reads the item as it
was before it. ``test_model.py`` holds it against moto.
"""

from __future__ import annotations

import functools
import operator
import re
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from botocore.exceptions import ClientError

if TYPE_CHECKING:
    from collections.abc import Callable

Item = dict[str, str | int]
Words = dict[str, Any]

_TOKEN = re.compile(r"\s*(<=|>=|<>|[=<>(),]|[#:]?\w+)")
_COMPARATORS = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


class ConditionalCheckFailedException(ClientError):  # type: ignore[misc]  # botocore has no types
    """The condition was false."""


class Parser:
    """Turns an expression into functions of an item and of the words given with it.

    The words are the names and values that ``#`` and ``:`` stand for.
    """

    def __init__(self, text: str) -> None:
        self._tokens = _TOKEN.findall(text)
        assert "".join(self._tokens) == re.sub(r"\s", "", text), text

    def condition(self) -> Callable[[Item, Words], bool]:
        """Parse a whole condition."""
        parsed = self._either()
        assert not self._tokens, self._tokens
        return parsed

    def update(self) -> Callable[[Item, Words], Item]:
        """Parse SET, REMOVE and ADD clauses."""
        actions: list[Callable[[Item, Item, Words], None]] = []
        while self._tokens:
            clause = {"SET": self._set, "REMOVE": self._remove, "ADD": self._add}[self._next()]
            actions.append(clause())
            while self._peek() == ",":
                self._next()
                actions.append(clause())

        def run(before: Item, words: Words) -> Item:
            after = dict(before)
            for action in actions:
                action(before, after, words)
            return after

        return run

    def _peek(self) -> str:
        return self._tokens[0] if self._tokens else ""

    def _next(self, expected: str | None = None) -> str:
        token: str = self._tokens.pop(0)
        assert expected in (None, token), f"{token!r} where {expected!r} should stand"
        return token

    def _either(self) -> Callable[[Item, Words], bool]:
        parts = [self._both()]
        while self._peek() == "OR":
            self._next()
            parts.append(self._both())
        return lambda item, words: any(part(item, words) for part in parts)

    def _both(self) -> Callable[[Item, Words], bool]:
        parts = [self._one()]
        while self._peek() == "AND":
            self._next()
            parts.append(self._one())
        return lambda item, words: all(part(item, words) for part in parts)

    def _one(self) -> Callable[[Item, Words], bool]:
        if self._peek() == "NOT":
            self._next()
            negated = self._one()
            return lambda item, words: not negated(item, words)
        if self._peek() == "(":
            self._next()
            inner = self._either()
            self._next(")")
            return inner
        if self._peek() in ("attribute_exists", "attribute_not_exists"):
            return self._existence(wanted=self._next() == "attribute_exists")
        return self._comparison()

    def _existence(self, *, wanted: bool) -> Callable[[Item, Words], bool]:
        self._next("(")
        name = self._next()
        self._next(")")
        return lambda item, words: (words.get(name, name) in item) == wanted

    def _comparison(self) -> Callable[[Item, Words], bool]:
        left, sign = self._operand(), self._next()
        if sign == "IN":
            return self._membership(left)
        right, compare = self._operand(), _COMPARATORS[sign]

        def holds(item: Item, words: Words) -> bool:
            one, other = left(item, words), right(item, words)
            return type(one) is type(other) and one is not None and bool(compare(one, other))

        return holds

    def _membership(self, left: Callable[[Item, Words], Any]) -> Callable[[Item, Words], bool]:
        self._next("(")
        choices = [self._operand()]
        while self._next() == ",":
            choices.append(self._operand())
        return lambda item, words: left(item, words) in [one(item, words) for one in choices]

    def _operand(self) -> Callable[[Item, Words], Any]:
        token = self._next()
        if token.startswith(":"):
            return lambda _, words: words[token]
        if token == "if_not_exists":
            self._next("(")
            name = self._next()
            self._next(",")
            otherwise = self._operand()
            self._next(")")
            return lambda item, words: item.get(words.get(name, name), otherwise(item, words))
        return lambda item, words: item.get(words.get(token, token))

    def _set(self) -> Callable[[Item, Item, Words], None]:
        name = self._next()
        self._next("=")
        value = self._operand()

        def run(before: Item, after: Item, words: Words) -> None:
            after[words.get(name, name)] = value(before, words)

        return run

    def _remove(self) -> Callable[[Item, Item, Words], None]:
        name = self._next()
        return lambda before, after, words: void(after.pop(words.get(name, name), None))

    def _add(self) -> Callable[[Item, Item, Words], None]:
        name, value = self._next(), self._operand()

        def run(before: Item, after: Item, words: Words) -> None:
            after[words.get(name, name)] = before.get(name, 0) + value(before, words)

        return run


def void(_: object) -> None:
    """Drop a value."""


@functools.cache
def condition_of(text: str) -> Callable[[Item, Words], bool]:
    """Return a condition, parsed once."""
    return Parser(text).condition()


@functools.cache
def update_of(text: str) -> Callable[[Item, Words], Item]:
    """Return an update, parsed once."""
    return Parser(text).update()


class MemoryTable:
    """The client. ``on_write`` sees every item before and after a write.

    ``items`` is what is in the table, by id.
    """

    exceptions = SimpleNamespace(ConditionalCheckFailedException=ConditionalCheckFailedException)

    def __init__(self, on_write: Callable[[Item, Item], None] = lambda before, after: None) -> None:
        self.items: dict[str, Item] = {}
        self._on_write = on_write

    def put_item(self, *, TableName: str, Item: Words) -> None:  # noqa: N803
        """Put a whole item."""
        item = plain(Item)
        self._write(str(item["id"]), "attribute_not_exists(id)", {}, lambda _: item)

    def update_item(
        self,
        *,
        TableName: str,  # noqa: N803
        Key: Words,  # noqa: N803
        UpdateExpression: str,  # noqa: N803
        ConditionExpression: str,  # noqa: N803
        ExpressionAttributeNames: Words,  # noqa: N803
        ExpressionAttributeValues: Words,  # noqa: N803
        ReturnValues: str,  # noqa: N803
        ReturnValuesOnConditionCheckFailure: str,  # noqa: N803
    ) -> Words:
        """Update an item, or make it, and return it whole."""
        assert (ReturnValues, ReturnValuesOnConditionCheckFailure) == ("ALL_NEW", "ALL_OLD")
        key, words = plain(Key), {**ExpressionAttributeNames, **plain(ExpressionAttributeValues)}
        change = update_of(UpdateExpression)
        after = self._write(
            str(key["id"]), ConditionExpression, words, lambda before: change(before, words) | key
        )
        return {"Attributes": marked(after)}

    def batch_get_item(self, *, RequestItems: dict[str, Words]) -> Words:  # noqa: N803
        """Return items, with the attributes of the projection."""
        ((name, request),) = RequestItems.items()
        names = request["ExpressionAttributeNames"]
        shown = {names.get(word, word) for word in request["ProjectionExpression"].split(",")}
        found = [self.items.get(key["id"]["S"]) for key in request["Keys"]]
        items = [
            marked({key: value for key, value in item.items() if key in shown})
            for item in found
            if item is not None
        ]
        return {"Responses": {name: items}, "UnprocessedKeys": {}}

    def _write(
        self, key: str, condition: str, words: Words, change: Callable[[Item], Item]
    ) -> Item:
        before = self.items.get(key)
        if not condition_of(condition)(before or {}, words):
            answer: Words = {"Error": {"Code": "ConditionalCheckFailedException", "Message": ""}}
            if before is not None:
                answer["Item"] = marked(before)
            raise ConditionalCheckFailedException(answer, "UpdateItem")
        after = self.items[key] = change(before or {})
        self._on_write(before or {}, after)
        return after


def plain(item: Words) -> Item:
    """Turn DynamoDB's typed values into Python's."""
    return {
        name: int(value["N"]) if "N" in value else str(value["S"]) for name, value in item.items()
    }


def marked(item: Item) -> Words:
    """Turn Python's values into DynamoDB's."""
    return {
        name: {"N": str(value)} if isinstance(value, int) else {"S": value}
        for name, value in item.items()
    }
