"""The two Unix sockets: a session's bridges ask on one, the operator commands on the other.

`frame` is the bytes of the first, `ask` its listener; `control` is the second, `client` and `once`
are its two callers. Nothing here decides: a handler answers, and every failure is a refusal.
"""
