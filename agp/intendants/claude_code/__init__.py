"""Claude Code: its hooks, its settings, its launch, its event stream."""
