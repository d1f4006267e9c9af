"""Three ways to think of inputs for one target: each plays cases until so many inputs were executed.

Knows: how hypothesis and atheris are driven. Must not know: what a target is about.
"""

from __future__ import annotations

import importlib.util
import os
import random
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fuzz.source import Bytes, Plain
from fuzz.watch import STUCK, Player, Target, guarded

__all__ = ["ENGINES", "has_atheris", "prepare"]

BATCH = 64
"""Cases for which the alarm is set once; one that is stuck is found all the same."""
SEEDS = 200
"""Cases of the grammar that a coverage-guided run begins with."""

Tell = Callable[[], None]


def plain(target: Target, player: Player, inputs: int, seed: str, tell: Tell) -> None:
    """The grammar and the mutator on a random generator: the fast one."""
    source = Plain(seed)
    while player.inputs < inputs:
        with guarded(3 * STUCK):
            for _ in range(BATCH):
                player.play(target.draw(source))
                if player.inputs >= inputs:
                    break
        tell()


def by_hypothesis(target: Target, player: Player, inputs: int, seed: str, tell: Tell) -> None:
    """The same grammar, its choices made by hypothesis, which also aims at what takes long."""
    import hypothesis
    from hypothesis import HealthCheck, Phase, strategies

    class Drawn:
        """Choices of one hypothesis example."""

        long = 5

        def __init__(self, data: Any) -> None:
            self.data = data

        def below(self, n: int) -> int:
            return int(self.data.draw(strategies.integers(0, n - 1)))

        def junk(self) -> str:
            return str(self.data.draw(ODD))

    ODD = strategies.text(strategies.characters(max_codepoint=255), max_size=24)

    def example(data: Any) -> None:
        case = target.draw(Drawn(data))
        with guarded():
            player.play(case)
        tell()

    turn = 0
    while player.inputs < inputs:
        settings = hypothesis.settings(
            max_examples=max(5, min(5000, (inputs - player.inputs) // target.size)),
            deadline=None,
            database=None,
            derandomize=False,
            phases=(Phase.generate,),
            suppress_health_check=list(HealthCheck),
        )
        given = hypothesis.given(strategies.data())(example)
        hypothesis.seed(f"{seed} {turn}")(settings(given))()
        turn += 1


def has_atheris() -> bool:
    return importlib.util.find_spec("atheris") is not None


def prepare(engine: str) -> None:
    """Before anything of locklib is imported in this process: let atheris see its branches."""
    if engine == "atheris" and has_atheris():
        import atheris

        with atheris.instrument_imports(include=["locklib"], enable_loader_override=False):
            import fuzz.targets  # noqa: F401


def by_atheris(target: Target, player: Player, inputs: int, seed: str, tell: Tell) -> None:
    """Guided by the branches reached: half of the inputs are bytes as they are, half choices of the grammar.

    Ends the process: libFuzzer does not come back.
    """
    import atheris

    def one(data: bytes) -> None:
        raw = bool(data[:1]) and data[0] < 128
        with guarded():
            player.play(target.raw(data[1:]) if raw else target.draw(Bytes(data[1:])))
        tell()
        if player.inputs >= inputs:
            shutil.rmtree(corpus)
            os._exit(0)  # an exit by an exception is a crash to libFuzzer

    corpus = tempfile.mkdtemp()
    for number, case in enumerate(seeds(target, seed)):
        Path(corpus, str(number)).write_bytes(case)
    number = int(random.Random(seed).random() * 2**31) + 1
    flags = [f"-seed={number}", "-max_len=4096", "-verbosity=0", "-timeout=300", "-report_slow_units=300"]
    atheris.Setup(["fuzz", *flags, "-rss_limit_mb=0", f"-artifact_prefix={corpus}/", corpus], one)
    atheris.Fuzz()


def seeds(target: Target, seed: str) -> list[bytes]:
    """Cases of the grammar as bytes where a case is text, and choices for the grammar where it is not."""
    source = Plain(seed)
    cases = [target.draw(source) for _ in range(SEEDS)]
    texts = [b"\x00" + case.encode("latin-1", "replace") for case in cases if isinstance(case, str)]
    return texts + [bytes([128, *(source.below(256) for _ in range(200))]) for _ in range(SEEDS // 4)]


def halves(target: Target, player: Player, inputs: int, seed: str, tell: Tell) -> None:
    """In place of atheris where it is not installed."""
    by_hypothesis(target, player, inputs // 2, seed, tell)
    plain(target, player, inputs, seed, tell)


Engine = Callable[[Target, Player, int, str, Tell], None]

ENGINES: dict[str, Engine] = {
    "plain": plain,
    "hypothesis": by_hypothesis,
    "atheris": by_atheris if has_atheris() else halves,
}
