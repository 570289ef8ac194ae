"""What a call would do, and what the operator's rules say about it. Pure: no clock, no I/O.

`document` reads strict YAML with positions, `language` makes rules of it, `match` says when a rule
matches an effect, `effects` (with `shell`, `programs`, `places` and `urls`) turns a tool call into
effects, `table` is the truth table, `policyset` puts the files of all tiers together.
"""
