#!/usr/bin/env bash
# Writes tests/golden/pack, manifest and codec anew, from the samples in the format and codec tests.
# Only for a new format version: the files of a released version never change.
#
#   tests/golden/make_store.sh BUILD      BUILD = a build folder with tests, such as build/release
set -euo pipefail
FLOR_WRITE_GOLDEN=1 "$1/tests/cpp/format_test" "golden *"
FLOR_WRITE_GOLDEN=1 "$1/tests/cpp/codec_test" "golden *"
