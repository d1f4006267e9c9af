"""The rules of locks, exchange by exchange, the same under ASGI and WSGI."""

from __future__ import annotations

import pytest

from transcripts import conditions, down, locking, methods, places, purposes, renderings, rfc4918, settling
from transcripts.player import Transcript, play

PARTS = (methods, locking, conditions, purposes, renderings, places, settling, down, rfc4918)
TABLE = [transcript for part in PARTS for transcript in part.TABLE]


@pytest.mark.filterwarnings("ignore:Unknown REQUEST_METHOD")
@pytest.mark.parametrize("transcript", TABLE, ids=lambda transcript: transcript.name)
def test_transcript(transcript: Transcript, monkeypatch: pytest.MonkeyPatch) -> None:
    play(transcript, monkeypatch)


def test_every_transcript_has_a_name_of_its_own() -> None:
    names = [transcript.name for transcript in TABLE]
    assert len(set(names)) == len(names)
