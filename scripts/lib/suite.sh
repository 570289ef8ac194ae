# Sourced by scripts/test: run pytest and accept only a run in which everything ran.
# shellcheck shell=bash

SUITE_TIMEOUT_S=1800
ORDINARY=4001
CLOSING=()

# suite NAME REPORT COMMAND...: run pytest, keep its closing line; a skip or an empty run fails.
suite() {
  local name=$1 report=$2 log
  shift 2
  log=$(mktemp)
  if ! "$@" --junitxml "$report" -p no:cacheprovider 2>&1 | tee "$log" ||
    ! "$python" scripts/lib/whole_run.py "$report"; then
    STEPS_FAILED+=("$name")
  fi
  CLOSING+=("$(tail -n 1 "$log")")
  rm -f "$log"
}

# here ARGUMENTS...: pytest over this tree, with an empty home.
here() {
  timeout --kill-after=30 "$SUITE_TIMEOUT_S" env HOME="$work/own-home" "$python" -m pytest "$@"
}

# copy_for_ordinary: the same tree and packages, readable for everybody, the tree the user's own.
copy_for_ordinary() {
  local tree=$work/tree
  mkdir "$tree" "$work/home" "$work/reports"
  git -c safe.directory="$PWD" ls-files -z --cached --others --exclude-standard |
    tar --create --null --ignore-failed-read --files-from - | tar --extract --directory "$tree"
  cp -a .harness "$tree/" # npm hard-links its binary; that must stay so
  (cd "$tree" && make_venv "$work/venv")
  chmod -R a+rX "$work"
  chown -R "$ORDINARY:$ORDINARY" "$tree" "$work/home" "$work/reports"
}

# in_copy ARGUMENTS...: pytest over the copied tree as a user who owns nothing else, with no
# variable of ours.
in_copy() {
  cd "$work/tree" || return
  timeout --kill-after=30 "$SUITE_TIMEOUT_S" \
    setpriv --reuid "$ORDINARY" --regid "$ORDINARY" --clear-groups \
    env -i HOME="$work/home" PATH=/usr/local/bin:/usr/bin:/bin LANG=C.UTF-8 \
    "$work/venv/bin/python" -m pytest "$@"
}
