# Shared by the scripts beside it: where things are, progress lines, quiet steps. Sourced, not run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=$root/.venv
build=$root/build
py=$venv/bin/python

say() { printf '%s\n' "$*"; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# quiet LABEL COMMAND...: one progress line; the output goes to a log that is shown only on failure.
quiet() {
  local label=$1 log start=$SECONDS
  shift
  mkdir -p "$build/logs"
  log=$build/logs/$(tr -c 'a-zA-Z0-9\n' '-' <<<"$label" | cut -c1-60).log
  printf '  %-58s ' "$label"
  if "$@" >"$log" 2>&1; then
    printf 'ok %4ss\n' "$((SECONDS - start))"
  else
    local code=$?
    printf 'FAILED\n'
    tail -n 60 "$log" >&2
    printf '\nerror: "%s" failed; the whole log is %s\n' "$label" "$log" >&2
    return "$code"
  fi
}

# fingerprint PATH...: one hash over the names and bytes of all files below the paths.
fingerprint() {
  (cd "$root" && find "$@" -type f -not -name '*.pyc' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum) |
    sha256sum | cut -d' ' -f1
}

# cpp_tests PRESET [WRAPPER...]: configure, build and run the C++ tests of a preset of CMakePresets.json.
cpp_tests() {
  local preset=$1
  shift
  cd "$root"
  quiet "configure C++ ($preset)" cmake --preset "$preset"
  quiet "build C++ ($preset)" cmake --build "$build/$preset"
  "$@" ctest --test-dir "$build/$preset" --output-on-failure
}
