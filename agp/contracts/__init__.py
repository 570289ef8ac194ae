"""Frozen values and protocols for everything that crosses a boundary.

The eight contracts of the design, one module each: `journal` (the event), `policy` (the verdict),
`gateway` (the frame and the control message), `intendant`, `sandbox`, `channel`, `session` (the
lease) and `outbox` (the delivery). `base` holds what they share, `strict_json` the one way in
which a peer's JSON is read, `display` the one way in which a peer's text is shown.
"""
