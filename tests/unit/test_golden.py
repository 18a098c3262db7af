"""The comparison of the golden record: what differs is reported, and so is an allowance that nothing needs."""

from __future__ import annotations

from typing import Any

import pytest
from golden.record import HERE, PARTS, differences, load, matches, text

PART = PARTS[0]
RECORDED = {"required: client-good raw 1.3": ["authenticated", None], "up MODE=x": "2", "up S=[1]": "0"}


def compared(now: dict[str, Any], **allowed: Any) -> list[str]:
    return differences({PART: RECORDED}, {PART: now}, allowed)


def changed(**entry: Any) -> list[dict[str, Any]]:
    return [{"part": PART, "why": "a test"} | entry]


def test_equal_records_do_not_differ() -> None:
    assert compared(dict(RECORDED)) == []


def test_a_changed_value_a_missing_fact_and_a_new_one_differ() -> None:
    assert compared(RECORDED | {"up MODE=x": "0"}) == [f'{PART}: up MODE=x\n  - "2"\n  + "0"']
    assert compared({key: value for key, value in RECORDED.items() if key != "up MODE=x"}) == [
        f'{PART}: up MODE=x\n  - "2"\n  + "absent"'
    ]
    assert compared(RECORDED | {"up": "0"}) == [f'{PART}: up\n  - "absent"\n  + "0"']


def test_an_allowed_difference_is_none_and_an_unused_allowance_is_one() -> None:
    now = RECORDED | {"up MODE=x": "0"}
    assert compared(now, changed=changed(key="up MODE=*")) == []
    assert compared(now, changed=changed(key="up MODE=*", now="0")) == []
    assert len(compared(now, changed=changed(key="up MODE=*", now="1"))) == 2
    assert len(compared(now, changed=changed(key="up PORT=*"))) == 2
    (unused,) = compared(dict(RECORDED), changed=changed(key="up MODE=*"))
    assert unused.startswith("allowed.toml: nothing differs so any more")


def test_a_renamed_fact_is_still_compared() -> None:
    entry = {"part": PART, "old": "client-good", "new": "client-valid", "why": "a test"}
    now = {key.replace("client-good", "client-valid"): value for key, value in RECORDED.items()}
    assert compared(now, renamed=[entry]) == []
    assert len(compared(now | {"required: client-valid raw 1.3": ["served", None]}, renamed=[entry])) == 1
    assert len(compared(dict(RECORDED), renamed=[entry])) == 2


def test_only_a_star_is_a_pattern() -> None:
    assert matches("up S=[1]", "up S=[1]")
    assert not matches("up ?=[1]", "up S=[1]")
    assert not matches("up", "up S=[1]")


@pytest.mark.parametrize("part", PARTS)
def test_a_record_is_sorted_and_has_one_fact_per_line(part: str) -> None:
    record = load(part)
    assert list(record) == sorted(record)
    assert text(record) == (HERE / f"{part}.json").read_text()
    assert text(record).count("\n") == len(record) + 2
