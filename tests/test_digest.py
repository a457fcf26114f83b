"""Keys made of facts: the same for the same facts, in every version."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from sleap_infer.jobs.plan.identity import identity_key
from sleap_infer.system.digest import digest, file_digest


def test_a_digest_is_that_of_sorted_json() -> None:
    """Files and journals of earlier versions hold such keys."""
    expected = hashlib.sha256(b'{"a": [1, null, 2.5], "b": "\\u00e9"}').hexdigest()
    facts = {"b": "é", "a": (1, None, 2.5)}
    assert digest(facts) == expected[:24]
    assert digest(facts, 64) == expected
    assert identity_key(facts) == expected[:32]


@pytest.mark.parametrize("other", [{"a": 1, "b": 3}, {"a": 1}, {"a": 1, "b": "2"}, [1, 2], None])
def test_other_facts_have_other_keys(other: object) -> None:
    assert digest(other) != digest({"b": 2, "a": 1})
    assert digest({"a": 1, "b": 2}) == digest({"b": 2, "a": 1})


def test_values_that_are_not_json_count_as_their_text(tmp_path: Path) -> None:
    assert digest({"path": tmp_path}) == digest({"path": str(tmp_path)})


def test_the_digest_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"content")
    assert file_digest(tmp_path / "a") == hashlib.sha256(b"content").hexdigest()
