"""Ways to reach people: the terminal prompt, and what a harness may write to a terminal."""
