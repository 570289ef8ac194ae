# Sourced: run named steps, show one line each, and the whole output of those that fail.
# shellcheck shell=bash

STEPS_FAILED=()

# step NAME COMMAND...: quiet where it succeeds.
step() {
  local name=$1 log started status
  shift
  log=$(mktemp)
  started=$SECONDS
  if "$@" >"$log" 2>&1; then
    printf '  ok      %-20s %3d s\n' "$name" $((SECONDS - started))
  else
    status=$?
    printf '  FAILED  %-20s %3d s, exit %d\n' "$name" $((SECONDS - started)) "$status"
    sed 's/^/    /' "$log"
    STEPS_FAILED+=("$name")
  fi
  rm -f "$log"
}

# static_steps PYTHON: what needs no test run. Scripts without a suffix are named, for nobody finds
# them otherwise; each is a program of its own for mypy.
static_steps() {
  local bin hook
  bin=$(dirname "$1")
  step format "$bin/ruff" format --check . scripts/docs scripts/conformance hooks/agp-*
  step lint "$bin/ruff" check . scripts/docs scripts/conformance hooks/agp-*
  step types "$bin/mypy" agp
  for hook in hooks/agp-*; do step "types $hook" "$bin/mypy" "$hook"; done
  step imports "$bin/lint-imports"
  step docs "$1" scripts/docs
}

# steps_end: say what failed, and fail.
steps_end() {
  if [ ${#STEPS_FAILED[@]} -gt 0 ]; then
    echo "failed: ${STEPS_FAILED[*]}" >&2
    return 1
  fi
}
