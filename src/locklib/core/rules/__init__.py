"""What locks mean: each intent as a pair of a query (which rows must be seen) and a step (what follows from them).

Knows: RFC 4918 sections 6, 7 and 9, and the purposes of docs/design.md. Every `if` about locks is in this package.
Must not know: HTTP (a refusal's status aside), how a store runs a step, what time it is.

`words` has the tables, `admitting` says whether a write may pass, `granting` whether a lock may be had, `ending` how
locks end. Words used in all of them: a lock *opens* for a request that submits its token as its creator; a resource is
*blocked* by the locks that cover it and do not open, unless one of the same purpose opens (RFC 4918 section 6.2: of
shared locks, one token is enough).
"""

from __future__ import annotations

from locklib.core.rules.admitting import (
    admit,
)
from locklib.core.rules.ending import (
    end_these,
    end_under,
    listing,
    release,
    roots_near,
    roots_under,
)
from locklib.core.rules.granting import (
    Wish,
    abandon,
    acquire,
    confirm,
    permits_in_the_way,
    refresh,
)
from locklib.core.rules.words import (
    NEEDS,
    READS,
    SAFE,
    WRITE_NEEDS,
    Acquisition,
    Admission,
    Admitted,
    Asker,
    Creation,
    Granted,
    Membership,
    Need,
    NeedFacts,
    NeedMore,
    Renewal,
    Submission,
    Touch,
)

__all__ = [
    "NEEDS",
    "READS",
    "SAFE",
    "WRITE_NEEDS",
    "Acquisition",
    "Admission",
    "Admitted",
    "Asker",
    "Creation",
    "Granted",
    "Membership",
    "Need",
    "NeedFacts",
    "NeedMore",
    "Renewal",
    "Submission",
    "Touch",
    "Wish",
    "abandon",
    "acquire",
    "admit",
    "confirm",
    "end_these",
    "end_under",
    "listing",
    "permits_in_the_way",
    "refresh",
    "release",
    "roots_near",
    "roots_under",
]
