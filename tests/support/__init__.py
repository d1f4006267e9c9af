"""What the tests stand on: real servers, real clients, and the budget of minutes.

Imported as `support` (never `tests.support`, which would be a second copy of the same modules).
"""
