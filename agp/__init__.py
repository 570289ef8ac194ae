"""AGP governs coding agents: decided, asked, recorded and confined before anything runs."""

__version__ = "0.1.0"
