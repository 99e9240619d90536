#!/usr/bin/env bash
# Seconds from a new virtual environment to the first report on the diamonds table: install, fit with the default
# budget, report. Arguments go to `pushforward fit`, as in: first_report.sh --columns carat,price --given cut,color
set -euo pipefail
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
cd "$folder"

now() { date +%s.%N; }
between() { awk "BEGIN { printf \"%.1f s\", $2 - $1 }"; }

start=$(now)
python3 -m venv venv
venv/bin/pip install --quiet "$source[demo]"
installed=$(now)
table=$(venv/bin/python -c 'from pushforward.cli.demo import bundled_table; print(bundled_table())')
found=$(now)
venv/bin/pushforward fit "$table" -o model --quiet "$@"
fitted=$(now)
venv/bin/pushforward report model "$table" -o report.html --quiet
reported=$(now)

echo "install $(between "$start" "$installed"), fit $(between "$found" "$fitted")," \
    "report $(between "$fitted" "$reported"), in all $(between "$start" "$reported")"
venv/bin/pushforward info model
