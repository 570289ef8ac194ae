"""The composition root: home, configuration, the daemon's start and stop, and the launcher."""
