"""A dose of `python -m fuzz`: some thousand inputs of each target, the same each time; and that a fuzzer is not blind.

Every rule that it checks is broken on purpose once, in a parser or in a middleware, and must be reported. Hangs are
judged by thread time, and only by what is far beyond the limit.
"""

from __future__ import annotations

import dataclasses
import io
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from fuzz import __main__ as program
from fuzz import engines, findings, jobs
from fuzz.parser import Parser
from fuzz.requests import REQUESTS, Sequence
from fuzz.site import SETTINGS
from fuzz.source import Bytes, Plain, mutated
from fuzz.targets import TARGETS
from fuzz.watch import Finding, Player, Watch, guarded

from locklib.asgi import LockMiddleware as AsgiMiddleware
from locklib.core.if_header import parse_if
from locklib.core.lockinfo import LockInfo
from locklib.core.model import Depth, Lock, Outcome, Put, Query
from locklib.errors import BadField, ConfigurationError, LockError
from locklib.wsgi import LockMiddleware as WsgiMiddleware

ROOT = Path(__file__).parents[1]
DOSE = {name: 1500 if name in ("asgi", "wsgi") else 500 for name in TARGETS}
PATIENT = 0.5  # a dose on a busy machine looks for what is wrong, `python -m fuzz` also for what takes 50 ms
BY_HYPOTHESIS = 60


def play(target: Any, inputs: int, engine: str = "plain", hang: float = PATIENT) -> tuple[Player, list[Finding]]:
    found: list[Finding] = []
    player = Player(target, found.append, hang)
    engines.ENGINES[engine](target, player, inputs, "dose", lambda: None)
    return player, found


def found_in(target: Any, fault: str, inputs: int = 2500, hang: float = PATIENT) -> Finding:
    """The first finding of this fault, and no more inputs than it takes."""
    found: dict[str, Finding] = {}
    player = Player(target, lambda finding: found.setdefault(finding.fault, finding), hang)
    source = Plain("dose")
    while fault not in found:
        player.play(target.draw(source))
        assert player.inputs < inputs, f"{fault!r} was not found, only {sorted(found)}"
    return found[fault]


# ---- the dose --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", TARGETS)
def test_no_input_upsets_it(name):
    player, found = play(TARGETS[name], DOSE[name])
    assert found == []
    assert player.inputs >= DOSE[name]


@pytest.mark.parametrize("name", ["if", "lockinfo-xml", "path", "wsgi"])
def test_no_input_that_hypothesis_draws_upsets_it(name):
    player, found = play(TARGETS[name], BY_HYPOTHESIS, "hypothesis")
    assert found == []
    assert player.inputs >= BY_HYPOTHESIS


@pytest.mark.parametrize("name", TARGETS)
def test_no_choice_of_bytes_upsets_it(name):
    """What a coverage-guided engine would hand over: bytes as they are, and bytes as choices of the grammar."""
    source = Plain("bytes")
    for _ in range(100):
        data = bytes(source.below(256) for _ in range(source.below(300)))
        for case in (TARGETS[name].raw(data), TARGETS[name].draw(Bytes(data))):
            TARGETS[name].play(case, Watch())


@pytest.mark.parametrize("name", [name for name, target in TARGETS.items() if isinstance(target, Parser)])
def test_the_grammar_makes_what_can_be_read_and_what_cannot(name):
    """A grammar of nonsense alone would test one line of each parser."""
    target, source = TARGETS[name], Plain("grammar")
    read = {True: 0, False: 0}
    for _ in range(300):
        try:
            target.read(target.draw(source))
            read[True] += 1
        except LockError:
            read[False] += 1
    assert read[True] > 30
    assert read[False] > 30 or name in ("timeout", "path")  # these two never refuse


@pytest.mark.parametrize("target", REQUESTS, ids=lambda target: target.name)
def test_the_grammar_makes_every_kind_of_answer_and_requests_that_meet_locks(target):
    answers: set[tuple[str, int]] = set()
    met: list[int] = []
    source = Plain("answers")

    class Spy(Watch):
        def timed(self, work: Callable[..., Any], *given: Any) -> Any:
            met.append(len(work.__self__.locks()))
            got = super().timed(work, *given)
            answers.add((given[0][0], got.status))
            return got

    while len(met) < 3000:
        target.play(target.draw(source), Spy())
    statuses = {status for _, status in answers}
    assert {200, 201, 204, 207, 400, 401, 403, 404, 405, 409, 412, 414, 415, 422, 423, 502} <= statuses
    assert {("LOCK", 200), ("LOCK", 201), ("LOCK", 423), ("UNLOCK", 204), ("MOVE", 201), ("DELETE", 204)} <= answers
    assert sum(each > 0 for each in met) > len(met) // 3
    assert max(met) >= 3


def test_a_seed_is_a_run():
    for name in ("if", "wsgi"):
        one, other = Plain("7"), Plain("7")
        assert [TARGETS[name].draw(one) for _ in range(20)] == [TARGETS[name].draw(other) for _ in range(20)]


# ---- planted in a parser ---------------------------------------------------------------------------------------------


def raising(error: BaseException) -> Callable[[str], Any]:
    def read(value: str) -> Any:
        if "Not" in value:
            raise error.with_traceback(None)
        return parse_if(value)

    return read


def forgetful(value: str) -> Any:
    """Loses the lists behind the first."""
    header = parse_if(value)
    return type(header)(header.lists[:1])


def quadratic(value: str) -> Any:
    rest = value
    while rest and len(value) > 4000:
        rest = rest[1:]
        rest.count("(")
    return parse_if(value)


def sleepy(value: str) -> Any:
    if "Not" in value:
        time.sleep(0.1)
    return parse_if(value)


IF = TARGETS["if"]


@pytest.mark.parametrize(
    ("read", "fault"),
    [
        pytest.param(raising(ValueError("no number")), "ValueError in no frame of locklib", id="ValueError"),
        pytest.param(raising(RecursionError()), "RecursionError in no frame of locklib", id="RecursionError"),
        pytest.param(raising(ConfigurationError("a setting")), "status 500", id="a LockError that is a 500"),
        pytest.param(raising(BadField("If", "", "\xe9")), "an unprintable message", id="a message beyond ASCII"),
        pytest.param(forgetful, "If, the short way and the long one", id="a value that lost a part"),
    ],
)
def test_a_fault_in_a_parser_is_found(read, fault):
    assert found_in(dataclasses.replace(IF, read=read), fault)


def test_a_parser_that_hangs_is_found():
    assert found_in(dataclasses.replace(IF, read=sleepy), "hang", hang=0.05)


def is_blamed(target, length: int) -> bool:
    try:
        target.play("(" * length, Watch())
    except AssertionError as error:
        return "not linear" in str(error)
    return False


def test_a_parser_that_is_not_linear_is_found():
    """By its growth, long before it takes as long as a hang."""
    target = dataclasses.replace(IF, read=quadratic)
    for length in (12_000, 16_000, 20_000):
        assert any(is_blamed(target, length) for _ in range(5))  # a busy machine hides one or the other
    IF.play("(" * 20_000, Watch())


def test_a_parser_that_never_ends_is_ended():
    def read(value: str) -> Any:
        while True:
            pass

    found: list[Finding] = []
    player = Player(dataclasses.replace(IF, read=read), found.append)
    with guarded(0.3):
        player.play("(<a:b>)")
    assert [finding.fault for finding in found] == ["Stuck in no frame of locklib"]


def test_an_owner_that_is_not_what_was_sent_is_found():
    target = TARGETS["lockinfo-xml"]

    def read(case: str) -> LockInfo:
        info = target.read(case)
        words = info.owner_info and info.owner_info.replace("anna", "anja")
        return LockInfo(info.scope, owner_info=words, owner_is_xml=info.owner_is_xml)

    assert found_in(dataclasses.replace(target, read=read), "lockinfo, the owner as another reader has it")


# ---- planted in a middleware -----------------------------------------------------------------------------------------


class Around:
    """A WSGI middleware that is right, but for what `fault` does. `fault` gets itself, the environ, and an answer."""

    def __init__(self, fault: Callable[..., Any], app: Any, **given: Any) -> None:
        self.app, self.store, self.fault = app, given["store"], fault
        self.inner = WsgiMiddleware(app, **given)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        said: list[Any] = []
        body = self.inner(environ, lambda *start: said.append(start) or (lambda data: None))
        chunks = list(body)
        if hasattr(body, "close"):
            body.close()
        status, headers = said[-1][:2]
        status, headers, chunks = self.fault(self, environ, status, list(headers), chunks)
        start_response(status, headers)
        return chunks


def refused(status: str) -> bool:
    return status.startswith(("423", "412"))


def crashes(self, environ, status, headers, chunks):
    if refused(status):
        raise KeyError("a part that is missing")
    return status, headers, chunks


def answers_500(self, environ, status, headers, chunks):
    return ("500 -" if refused(status) else status), headers, chunks


def locks_on_refusal(self, environ, status, headers, chunks):
    if refused(status):
        put = Put(Lock("urn:planted", "/zzz"), 60.0, grant=True)
        self.store.transact(Query(writes=True), lambda shown: Outcome(None, puts=(put,)))
    return status, headers, chunks


def calls_on_refusal(self, environ, status, headers, chunks):
    if refused(status):
        list(self.app(environ, lambda *start: None))
    return status, headers, chunks


def hangs(self, environ, status, headers, chunks):
    if refused(status):
        time.sleep(0.1)
    return status, headers, chunks


def breaks_lines(self, environ, status, headers, chunks):
    return status, [*headers, ("X-Owner", "a\r\nSet-Cookie: x=1")], chunks


def breaks_json(self, environ, status, headers, chunks):
    return status, headers, [chunk[:-1] for chunk in chunks]


def locks_twice(self, environ, status, headers, chunks):
    if environ["REQUEST_METHOD"] == "LOCK" and status.startswith("20"):
        puts = [Put(Lock(f"urn:planted:{n}", "/c", Depth.INFINITY), 60.0, grant=True) for n in range(2)]
        self.store.transact(Query(writes=True), lambda shown: Outcome(None, puts=tuple(puts)))
    return status, headers, chunks


def locks_for_ever(self, environ, status, headers, chunks):
    if environ["REQUEST_METHOD"] == "LOCK" and status.startswith("20"):
        put = Put(Lock("urn:planted", "/zzz", timeout=1e9), 1e9, grant=True)
        self.store.transact(Query(writes=True), lambda shown: Outcome(None, puts=(put,)))
    return status, headers, chunks


def ends_nothing(self, environ, status, headers, chunks):
    return ("204 -" if environ["REQUEST_METHOD"] == "UNLOCK" else status), headers, chunks


class Open:
    """Guards nothing but LOCK and UNLOCK, so every write passes by every lock."""

    def __init__(self, app: Any, **given: Any) -> None:
        self.app, self.inner = app, WsgiMiddleware(app, **given)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Any:
        inner = self.inner if environ["REQUEST_METHOD"] in ("LOCK", "UNLOCK") else self.app
        return inner(environ, start_response)


def planted(fault: Callable[..., Any]) -> Sequence:
    return Sequence("wsgi", lambda app, **given: Around(fault, app, **given))


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        pytest.param(crashes, "KeyError in no frame of locklib", id="an exception"),
        pytest.param(answers_500, "I16, 500", id="a 500"),
        pytest.param(locks_on_refusal, "I10, the table changed", id="a table that changes on a refusal"),
        pytest.param(calls_on_refusal, "I10, the application was called", id="an application that is called"),
        pytest.param(breaks_lines, "T6, a header field", id="a header of two lines"),
        pytest.param(breaks_json, "T5, JSON that cannot be read", id="JSON that is cut"),
        pytest.param(locks_twice, "I1, locks contradict", id="two locks on one resource"),
        pytest.param(locks_for_ever, "T8, a lock without an end", id="a lock of thirty years"),
        pytest.param(ends_nothing, "an ended token that is in the table", id="an UNLOCK that ends nothing"),
    ],
)
def test_a_fault_in_a_middleware_is_found(fault, said):
    assert found_in(planted(fault), said)


def test_a_middleware_that_hangs_is_found():
    assert found_in(planted(hangs), "hang", hang=0.05)


def test_a_write_past_a_lock_is_found():
    assert found_in(Sequence("wsgi", Open), "a change under a lock whose token was not shown")


def test_a_fault_behind_asgi_is_found():
    class Silent(AsgiMiddleware):
        async def _reply_nothing(self, *_: Any) -> None:
            return None

        def __call__(self, scope: Any, receive: Any, send: Any) -> Any:
            return self._reply_nothing() if scope["method"] == "UNLOCK" else super().__call__(scope, receive, send)

    assert found_in(Sequence("asgi", Silent), "I16, no answer")


# ---- findings --------------------------------------------------------------------------------------------------------


def test_a_finding_is_made_smaller_written_and_shows_again(tmp_path):
    """What is left of a long sequence is what matters: a lock and a request that is refused for it."""
    target = planted(calls_on_refusal)
    finding = found_in(target, "I10, the application was called")
    small = findings.shrunk(target, finding)
    assert len(small.case[1]) <= 2
    path = findings.write(small, tmp_path)
    assert json.loads(path.read_text())["target"] == "wsgi"
    again = findings.read(path, lambda name: target.load)
    assert again.case == small.case
    assert small.fault in (findings.replayed(target, again.case)[0] or "")
    assert findings.replayed(TARGETS["wsgi"], again.case)[0] is None


def test_text_is_made_smaller_to_the_letter():
    target = dataclasses.replace(IF, read=raising(ValueError()))
    case = '(<urn:x:y> ["e"]) (Not <DAV:no-lock>) (["f"])'
    finding = Finding("if", "ValueError in no frame of locklib", "", case)
    assert findings.shrunk(target, finding).case == "Not"


def test_a_hang_is_made_smaller_and_stays_as_slow():
    target = dataclasses.replace(IF, read=sleepy)
    assert findings.shrunk(target, Finding("if", "hang", "", "(<a:b>) (Not <a:b>)")).case == "Not"


def test_equal_faults_are_one_finding():
    found = play(dataclasses.replace(IF, read=raising(ValueError())), 500)[1]
    assert len(found) == 1


# ---- the program -----------------------------------------------------------------------------------------------------


def test_a_run_counts_what_it_executes_and_ends_with_the_table(tmp_path, capsys):
    report = tmp_path / "report.md"
    given = ["if", "wsgi", "--inputs", "400", "--seed", "3", "--report", str(report), "--findings", str(tmp_path / "f")]
    assert program.main(given) == 0
    out, err = capsys.readouterr()
    assert out == report.read_text()
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines() if line[:1] == "|"]
    assert [row[0] for row in rows] == ["target", "---", "if", "wsgi", "all"]
    counts = [int(row[1].replace(",", "")) for row in rows[2:]]
    assert counts[0] + counts[1] == counts[2] >= 400
    assert counts[2] < 400 + 4 * 30  # a sequence is played to its end
    assert [row[3] for row in rows[2:]] == ["0", "0", "0"]
    assert "of 400 inputs" in err
    assert "0 findings; done" in err
    assert not (tmp_path / "f").exists()


def test_a_process_that_dies_is_a_finding(tmp_path, monkeypatch):
    """A crash of the interpreter leaves no exception behind; the counts are those of what was executed."""
    task = jobs.Task("if", 100, "0 if 0", "plain", tmp_path)

    class Dead:
        exitcode = -11

    class Nothing:
        @staticmethod
        def empty() -> bool:
            return True

    row = jobs.Row("if")
    jobs._ended(jobs.Running(task, Dead(), [42.0, 0.0], Nothing()), row)
    [file] = row.findings
    assert "after 42 of 100 inputs" in json.loads(Path(file).read_text())["told"]


def test_findings_make_the_exit_status_1_and_are_named(tmp_path, monkeypatch, capsys):
    row = jobs.Row("if", 10, 0.001, findings={"somewhere.json"})
    monkeypatch.setattr(jobs, "work_out", lambda *_: [row])
    assert program.main(["if", "--inputs", "10"]) == 1
    assert "python -m fuzz replay somewhere.json" in capsys.readouterr().out


@pytest.mark.parametrize(("case", "status", "said"), [("(<a:b>)", 0, "fine now"), ("Not", 0, "fine now")])
def test_replay_says_what_became_of_a_finding(tmp_path, capsys, case, status, said):
    path = findings.write(Finding("if", "ValueError", "it raised", case), tmp_path)
    assert program.main(["replay", str(path)]) == status
    assert said in capsys.readouterr().out


def test_replay_of_what_still_shows_is_1(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(TARGETS, "if", dataclasses.replace(IF, read=raising(ValueError("planted"))))
    path = findings.write(Finding("if", "ValueError", "it raised", "(Not <a:b>)"), tmp_path)
    assert program.main(["replay", str(path)]) == 1
    assert "planted" in capsys.readouterr().out


def test_without_atheris_the_run_says_so_and_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(engines, "has_atheris", lambda: False)
    monkeypatch.setattr(jobs, "work_out", lambda *_: [])
    assert program.main(["if", "--engine", "atheris"]) == 0
    assert "atheris is not installed" in capsys.readouterr().err
    found: list[Finding] = []
    player = Player(IF, found.append)
    engines.halves(IF, player, 60, "0", lambda: None)
    assert player.inputs >= 60
    assert found == []


def test_the_guided_engine_is_driven(tmp_path):
    """By atheris where it is installed, else by the two in its place: in both cases so many inputs are executed."""
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", "if", "--engine", "atheris", "--inputs", "300", "--findings", str(tmp_path)],
        cwd=ROOT,
        env={"PYTHONPATH": str(ROOT / "src"), "PATH": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    count = int(done.stdout.split("| if |")[1].split("|")[0])
    assert 300 <= count < 320
    assert ("atheris is not installed" in done.stderr) is not engines.has_atheris()


def test_an_unknown_target_is_told_with_those_that_are_known(capsys):
    with pytest.raises(SystemExit) as ended:
        program.main(["iff"])
    assert ended.value.code == 2
    assert "'iff' is unknown; choose from if, timeout" in capsys.readouterr().err


@pytest.mark.parametrize("inputs", [1, 7, 1000, 1_000_000])
def test_shares_lose_nothing(inputs):
    weights = {name: target.weight for name, target in TARGETS.items()}
    plan = jobs.Plan(tuple(weights), inputs, jobs=3)
    assert sum(jobs.shares(weights, inputs).values()) == inputs
    assert sum(task.inputs for task in jobs.tasks(plan, weights)) == inputs


def test_progress_is_a_line_about_once_a_second():
    stream = io.StringIO()
    progress = jobs.Progress(10, stream)
    for _ in range(5):
        progress.show([], [], last=False)
    assert stream.getvalue() == ""
    progress.show([], [], last=True)
    assert stream.getvalue() == "0 of 10 inputs, 0 a second, slowest 0.0 ms, 0 findings; done\n"


def test_every_setting_of_the_site_is_drawn():
    source = Plain("settings")
    assert {TARGETS["asgi"].draw(source)[0] for _ in range(200)} == set(SETTINGS)


def test_a_mutation_changes_nearly_everything():
    source = Plain("mutations")
    text = '(<urn:uuid:0> [W/"e"])'
    assert len({mutated(source, text) for _ in range(300)}) > 200
