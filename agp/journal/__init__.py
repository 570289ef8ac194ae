"""The journal: canonical bytes, chain, tree, signed notes, writer, reader, offline verifier.

The format is specified in `docs/journal-format.md` and frozen. Reading order: `line` (one sealed
event), `chain` (how lines hold together), `writer` and `commit` (how they become durable),
`verify` (how anybody checks them with a public key only).
"""
