"""The command line: one module for each group of commands; it prints and exits, decides nothing."""
