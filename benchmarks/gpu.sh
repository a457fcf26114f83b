#!/bin/sh
# All that needs an NVIDIA GPU, in one go of a few minutes: agreement, tests, time. The table comes last.
#
#   benchmarks/gpu.sh [OUTPUT_DIRECTORY]
#
# Wheels that are missing on the machine are taken from ./wheels, if that is there.
set -eu
cd "$(dirname "$0")/.."
OUT=${1:-${OUT:-benchmarks/results}}
PYTHON=${PYTHON:-python3}
mkdir -p "$OUT"
if [ -d wheels ]; then
    "$PYTHON" -m pip install --quiet --no-deps --no-index --find-links wheels wheels/*.whl
fi
export PYTHONPATH="$PWD:$PWD/benchmarks" SLEAP_INFER_CACHE="${SLEAP_INFER_CACHE:-$PWD/build/cache}"
nvidia-smi --query-gpu=name,driver_version,memory.total --format=csv,noheader || true
"$PYTHON" -m sleap_infer doctor --json > "$OUT/gpu_doctor.json" || true
if "$PYTHON" -c 'import pytest' 2> /dev/null; then
    FAIL_WITHOUT_CUDA=1 "$PYTHON" -m pytest -q -m needs_cuda -p no:cacheprovider tests \
        > "$OUT/gpu_tests.txt" 2>&1 || echo "tests failed: see $OUT/gpu_tests.txt"
    tail -n 3 "$OUT/gpu_tests.txt"
fi
"$PYTHON" benchmarks/gpu.py --output "$OUT/gpu.json"
