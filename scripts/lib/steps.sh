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
  local bin hook programs shells
  bin=$(dirname "$1")
  mapfile -t programs < <(grep -lE '^#!.*python3' scripts/docs scripts/conformance hooks/agp-*)
  mapfile -t shells < <(grep -lE '^#!/bin/sh' hooks/*)
  step format "$bin/ruff" format --check . "${programs[@]}"
  step lint "$bin/ruff" check . "${programs[@]}"
  step types "$bin/mypy" agp
  for hook in "${programs[@]}"; do
    case $hook in hooks/*) step "types $hook" "$bin/mypy" "$hook" ;; esac
  done
  for hook in "${shells[@]}"; do step "syntax $hook" sh -n "$hook"; done
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
