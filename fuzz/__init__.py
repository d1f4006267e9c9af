"""Inputs nobody would send, by the million: no parser of locklib may crash, hang or lie, and no request may either.

    python -m fuzz                                  every target, 1 000 000 inputs, two processes
    python -m fuzz if lockinfo-xml --inputs 50000   two targets
    python -m fuzz --engine hypothesis|atheris      the same targets, other ways to think of inputs
    python -m fuzz replay fuzz/findings/FILE.json   one finding again

**Targets** (`fuzz.targets`): the header fields `if`, `timeout`, `depth`, `lock-token`, `destination`; the bodies
`lockinfo-xml`, `lockinfo-json`, `proppatch`, `propfind`; `path` (the keys); and whole requests, `asgi` and `wsgi`, in
sequences of up to two dozen on one lock table, which show tokens of earlier answers in later headers.

**Engines** (`fuzz.engines`). `plain`: a grammar and a mutator on `random.Random(seed)`, fast. `hypothesis`: the same
grammars, drawn by hypothesis, with its own text. `atheris`: guided by the branches that an input reaches; where it is
not installed the run says so and goes on, half with hypothesis, half plain.

**What must hold.** Of a parser: a value, or a `LockError` with status 400, 413, 414, 415 or 422, and nothing else; what
was read and is written again reads the same; an input that is four times as long takes about four times as long. Of a
request: no exception, no 5xx of ours (502 answers a Destination on another server), no 50 ms; on an answer of 400 or
above the lock table is what it was and the application was not called with the request, unless that answer is its own;
after each step no two locks contradict each other, every lock has an end, no permit is left over, and what changed in
the folder was not under a lock whose token was not shown. `fuzz.site` has the whole list.

**Counts** are inputs that were executed: of a sequence each request is one. What is done again, to measure a slow input
anew or to make a finding smaller, does not count.

**Findings** go to `fuzz/findings/`, one JSON file each, made smaller by leaving out what does not matter. The exit
status is 1 if there is any. Each one becomes a named test in `tests/test_fuzz_findings.py` when it is mended.

Import law: this package opens nothing of locklib until a target is asked for, so that atheris can instrument it.
"""
