"""The approval life cycle, pure: a transition table, what an approval binds, and its id."""
