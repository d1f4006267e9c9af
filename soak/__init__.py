"""The soak: many clients at work on a store while processes die, stand still, see wrong clocks and full disks.

`python -m soak` records what every operation was answered and what every write did, on one clock, and then asks
`locklib.testing.linearize` whether one atomic lock table could have given these answers. The histories are kept, so
that anyone can ask again: `python -m soak check DIR`.
"""
