"""From plain data to dataclasses: types, bounds, and sentences short enough to read."""

from __future__ import annotations

import math
from dataclasses import dataclass

import pytest

from triptych.spec.fields import brief, build, build_strictly, number, option, place, whole


@dataclass(frozen=True)
class Small:
    count: int = option(low=1, high=9)
    rate: float = option(0.5, above=0.0, below=1.0)
    limit: int | None = option(None, low=1)
    share: float | None = None
    flag: bool = False
    word: str = option("a", choices=("a", "b"))


def read(**data):
    mistakes: list[str] = []
    return build(Small, data, "small", mistakes), mistakes


def test_values_in_their_types():
    found, mistakes = read(count=9, rate="1e-3", limit=4, share=1, flag=True, word="b")
    assert mistakes == []
    assert found == Small(9, 0.001, 4, 1.0, True, "b")
    assert isinstance(found.share, float)
    assert read(count=1, limit=None, share=None)[0] == Small(1)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        ({}, "small.count: is missing"),
        ({"count": 0}, "small.count: must be at least 1 but is 0"),
        ({"count": 10}, "small.count: must be at most 9 but is 10"),
        ({"count": 1.0}, "small.count: expected a whole number but found 1.0"),
        ({"count": True}, "small.count: expected a whole number but found True"),
        ({"count": None}, "small.count: expected a whole number but found None"),
        ({"count": "3"}, "small.count: expected a whole number but found '3'"),
        ({"count": 2**63}, "small.count: expected a whole number but found 9223372036854775808"),
        ({"count": 1, "rate": 0}, "small.rate: must be above 0.0 but is 0.0"),
        ({"count": 1, "rate": 1}, "small.rate: must be below 1.0 but is 1.0"),
        ({"count": 1, "rate": False}, "small.rate: expected a finite number but found False"),
        ({"count": 1, "rate": [1]}, "small.rate: expected a finite number but found [1]"),
        ({"count": 1, "rate": math.nan}, "small.rate: expected a finite number but found nan"),
        ({"count": 1, "limit": "x"}, "small.limit: expected a whole number but found 'x'"),
        ({"count": 1, "share": -math.inf}, "small.share: expected a finite number but found -inf"),
        ({"count": 1, "flag": 1}, "small.flag: expected true or false but found 1"),
        ({"count": 1, "flag": None}, "small.flag: expected true or false but found None"),
        ({"count": 1, "word": "c"}, "small.word: 'c' is none of a, b"),
        ({"count": 1, "word": 3}, "small.word: expected a word but found 3"),
        ({"count": 1, "wrod": "a"}, "small.wrod: unknown option (did you mean 'word'?)"),
        (
            {"count": 1, None: 2},
            "small.None: unknown option; known are count, rate, limit, share, flag, word",
        ),
    ],
)
def test_one_sentence_a_mistake(data, says):
    mistakes: list[str] = []
    assert build(Small, data, "small", mistakes) is None
    assert mistakes == [says]


def test_all_mistakes_are_collected():
    assert read(rate=2, flag="x", other=1)[1] == [
        "small.other: unknown option; known are count, rate, limit, share, flag, word",
        "small.count: is missing",
        "small.rate: must be below 1.0 but is 2.0",
        "small.flag: expected true or false but found 'x'",
    ]
    with pytest.raises(ValueError, match=r"small\.count: is missing; small\.flag"):
        build_strictly(Small, {"flag": 3}, "small")


@pytest.mark.parametrize("data", [None, 5, [], "text"])
def test_what_is_no_mapping(data):
    mistakes: list[str] = []
    assert build(Small, data, "small", mistakes) is None
    assert mistakes == [f"small: expected a mapping of options but found {data!r}"]


def test_sentences_stay_short():
    endless: list = []
    endless.append(endless)
    assert brief("x" * 1000) == "'" + "x" * 59 + "..."
    assert brief(16**9000) == "a very long int"
    assert brief(endless) == "[[...]]"
    assert place("small", "count") == "small.count"
    assert place("small", 16**9000, None) == "small.a very long int.None"


def test_numbers():
    assert number("1e-3") == 0.001
    assert number(3) == 3.0
    assert whole(2**63 - 1) == 2**63 - 1
    for value in (10**400, "1e999", "", "x", None, True, 1j):
        with pytest.raises(ValueError, match="expected a finite number"):
            number(value)
