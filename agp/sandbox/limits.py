"""How much of the machine one view may take; its first process sets it for all that comes after.

The kernel counts processes for each user namespace, and each view is one: the operator's own, and
other views', are not counted, and a full view leaves them alone. Nothing inside can raise it. The
user with number 0 would be exempt, but an agent never runs as root.

Source: setrlimit(2), user_namespaces(7); measured with Linux 6.18. Before 5.14 the kernel counted
for each user of the machine.
"""

from __future__ import annotations

from typing import Final

PROCESSES: Final = 4096
"""Processes and threads of one view. Compilers and test runners with a worker for each of many
processors, a browser and a JVM beside them, stay far below it; a fork bomb stops at it within
seconds, long before the process table of a machine (32,768 at the least) is full."""
