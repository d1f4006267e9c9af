"""What every test may use: hypothesis profiles, real clients as fixtures, and the summary of what could not run.

Hypothesis, chosen by HYPOTHESIS_PROFILE:
- `test` (default) draws the same examples each time: a red run is the fault of the change at hand, and a green tree
  stays green. No deadline, since two busy cores under coverage say nothing about an example.
- `soak` draws anew, many, and keeps what failed in .hypothesis/: that is where new faults are looked for.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, settings

from support import clients, programs, servers
from support.budget import PARTS, part_of

if TYPE_CHECKING:
    from support.threats import Shell

# A job in the background inherits that Ctrl-C is ignored, and would hand that on to the servers of the tests.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SLOW_IS_FINE = [HealthCheck.too_slow]
settings.register_profile(
    "test", deadline=None, max_examples=60, derandomize=True, print_blob=True, suppress_health_check=SLOW_IS_FINE
)
settings.register_profile(
    "soak", deadline=None, max_examples=5_000, print_blob=True, suppress_health_check=SLOW_IS_FINE
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "test"))

REAL_CLIENTS = {"litmus", "cadaver", "webdav_npm"}


@pytest.fixture
def litmus() -> Callable[..., dict[str, clients.LitmusSuite]]:
    """`support.clients.run_litmus`; the test fails if litmus is not installed."""
    programs.program("litmus")
    return clients.run_litmus


@pytest.fixture
def cadaver() -> Callable[..., list[clients.CadaverStep]]:
    """`support.clients.run_cadaver`; the test fails if cadaver is not installed."""
    programs.program("cadaver")
    return clients.run_cadaver


@pytest.fixture
def webdav_npm() -> Callable[..., list[dict[str, object]]]:
    """`support.clients.run_webdav_npm`; the test fails if node or the package is not installed."""
    programs.program("node")
    programs.node_package("webdav")
    return clients.run_webdav_npm


@pytest.fixture
def free_port() -> Iterator[int]:
    """A port of 127.0.0.1 that is held for this test, for a server that sets SO_REUSEADDR."""
    with servers.held_port() as port:
        yield port


@pytest.fixture(params=["asgi", "wsgi"])
def guarded(request: pytest.FixtureRequest) -> Iterator[Callable[..., Shell]]:
    """Makes a `support.threats.Shell`: the test runs once with ASGI, once with WSGI."""
    from support.threats import Shell

    with contextlib.ExitStack() as stack:

        def make(*args: Any, **settings: Any) -> Shell:
            shell = Shell(request.param, *args, **settings)
            stack.callback(shell.close)
            return shell

        yield make


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """A test that asks for a real client is marked so: `make test` plays them in a part of their own.

    What is marked `all_servers` runs with ALL_SERVERS=1, as `make test-all` has it.
    """
    for item in items:
        if REAL_CLIENTS.intersection(getattr(item, "fixturenames", ())):
            item.add_marker(pytest.mark.clients)
    if os.environ.get("ALL_SERVERS", "") in ("", "0"):
        config.hook.pytest_deselected(items=[item for item in items if item.get_closest_marker("all_servers")])
        items[:] = [item for item in items if not item.get_closest_marker("all_servers")]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Iterator[None]:
    """When a test fails while servers run, what they printed stands in its report."""
    report = yield
    if report.failed:
        report.sections += [(f"{server.name} printed", server.printed()) for server in servers.RUNNING]
    return report


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    not_run(terminalreporter)
    minutes(terminalreporter)


def not_run(reporter: pytest.TerminalReporter) -> None:
    """Name what ALLOW_MISSING=1 left out."""
    reasons = Counter(str(report.longrepr[-1]) for report in reporter.stats.get("skipped", ()))
    for reason, count in sorted(reasons.items()):
        if programs.NOT_RUN in reason:
            what = reason.partition(programs.NOT_RUN)[2]
            reporter.write_line(f"{programs.NOT_RUN}{what}: {count} test{'s' * (count > 1)}", yellow=True, bold=True)


def minutes(reporter: pytest.TerminalReporter) -> None:
    """What each part took of its budget: the sum over its tests, which two processes share."""
    taken: Counter[str] = Counter()
    for reports in reporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                taken[part_of(report.nodeid.partition("::")[0]).name] += report.duration
    for part in PARTS:
        if taken[part.name] > 30 * part.minutes:  # from half a budget on, worth a line
            budget = f"budget {60 * part.minutes:.0f} s of two processes"
            reporter.write_line(f"{part.name}: {taken[part.name]:.0f} s of tests ({budget})")
