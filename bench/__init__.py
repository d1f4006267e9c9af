"""The figures of locklib: each a ratio of two things measured in turn in one process. `python -m bench` prints them.

Benchmarks are no tests: nothing here fails because a machine is slow.
"""
