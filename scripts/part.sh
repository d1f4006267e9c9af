#!/usr/bin/env bash
# part.sh NAME MINUTES COMMAND...: run one part of `make test` under its name, and say what it took of its budget.
set -u
name=$1 budget=$2
shift 2
printf '\n== %s\n' "$name"
began=$SECONDS
"$@"
status=$?
printf '== %s: %s, %d s (budget %s min)\n' "$name" "$([ $status = 0 ] && echo good || echo "FAILED ($status)")" \
    $((SECONDS - began)) "$budget"
exit $status
