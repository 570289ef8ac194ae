"""Confinement: the harness's view of the machine, the local provider, the proof that both hold.

A view is built from nothing and named entry by named entry (`profile`), started by the caller's own
thread (`spawn`), filtered (`seccomp`), proved (`preflight`) and reaches out only through `egress`.
"""
