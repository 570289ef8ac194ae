"""The configuration file that `agp init` writes: every setting, its default, as a comment."""

CONFIG_TEMPLATE = """\
# AGP's configuration. Every line that begins with '#' shows a default; remove the '#' to change it.
# An unknown setting is an error. No setting turns a check off.
version = 1

# The name of this journal in its checkpoints. Choose it before the key is made.
# origin = "agp.local/journal"

# How long a person may think about a question.
# approval_timeout_s = 600

# How long a hook looks for the daemon, and how long the daemon waits for one that was cut off.
# reconnect_s = 30
# reattach_grace_s = 45

# How long a harness may take to show live hooks before it is killed.
# hooks_deadline_s = 60

# How long a call that AGP executes itself may run.
# call_timeout_s = 600

# A checkpoint is sealed at the end of a session, and at least so often.
# checkpoint_every_events = 1000
# checkpoint_every_s = 300

# Below this much free space the daemon pauses, before the journal can break.
# disk_reserve_mib = 64

# What a governed harness may reach, as host:port, through AGP's proxy only.
# egress = ["api.anthropic.com:443"]

# Absolute directories that a view shows read-only besides /usr, such as a pyenv version.
# toolchains = []

# Absolute path of the Claude Code executable; empty: looked up on PATH.
# claude_code = ""

# Environment variables that are handed to the harness besides the built-in list. This is how
# Claude Code gets the key for its model: ["ANTHROPIC_API_KEY"]. AGP stores no key.
# pass_environment = []

# What of your own set-up Claude Code gets. The default is the repository's CLAUDE.md: text that
# the model reads, and that runs nothing. [] hands back nothing. Others:
#   "login"           the login file of a subscription, read-only; AGP never opens it
#   "login-refresh"   the same, writable, so that it can be renewed; also reaches its renewal server
#   "memory"          ~/.claude/CLAUDE.md
#   "skills", "agents", "skill:NAME", "agent:NAME"   yours, from ~/.claude; as /my:NAME
#   "project-skills", "project-agents"               the repository's; as /project:NAME
# Hooks, settings, plugins and a repository's .mcp.json are never handed back.
# carry = ["project-memory"]

# MCP servers: a table [mcp_servers.NAME] at the end of this file, with command (an array: program
# and arguments, no shell), and where needed environment (names) and egress (host:port). Each start
# is a decided call. docs/harnesses.md shows one.
# mcp_servers = {}
"""
