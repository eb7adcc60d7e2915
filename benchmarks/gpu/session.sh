#!/usr/bin/env bash
# The most that ten minutes on a GPU can show, most important first: environment, tests, the grid, plans of the kernels.
# Each has its own time, in seconds, and nothing stops at a failure. benchmarks/README.md says how to go on later.
#
#     TESTS=130 SANITIZE=0 GRID=270 TOTAL=580 OUT=folder CARRIED=.gpu PYTHON=python3 bash benchmarks/gpu_session.sh
set -uo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-benchmarks/results} carried=${CARRIED:-.gpu} python=${PYTHON:-python3}
tests=${TESTS:-130} sanitize=${SANITIZE:-0} grid=${GRID:-270} total=${TOTAL:-580}
cache=$(mktemp -d)
trap 'rm -rf "$cache"' EXIT
export CUPY_CACHE_DIR=$cache/cupy NUMBA_CACHE_DIR=$cache/numba PYTHONUNBUFFERED=1
mkdir -p "$out" "$CUPY_CACHE_DIR" "$NUMBA_CACHE_DIR"
for wheel in "$carried"/*.whl; do # of pure Python: they need not be installed
    if [ -f "$wheel" ]; then export PYTHONPATH=$(realpath "$wheel")${PYTHONPATH:+:$PYTHONPATH}; fi
done

section() { printf '\n== %s, after %s s\n' "$*" "$SECONDS"; }
limited() { timeout --kill-after=5 "$@" || printf '== ended with %s\n' "$?"; }
table() { head -n 80 "$1"; } # facts and summary; the whole of it is in the folder

main() {
    section "environment"
    if [ -f "$carried/cache.tar.gz" ]; then tar -xzf "$carried/cache.tar.gz" -C "$cache"; fi
    if ! [ "$out" -ef benchmarks/results ]; then cp benchmarks/results/gpu-*.jsonl "$out" 2>/dev/null; fi
    limited 10 nvidia-smi
    limited 20 "$python" -m pip list 2>/dev/null | grep -iE 'numpy|cupy|numba|cuda|torch|array|pytest|hypothesis'

    section "tests"
    local more=() # side by side, and past what hangs, where pytest can
    if "$python" -c 'import xdist' 2>/dev/null; then more+=(-n 8); fi
    if "$python" -c 'import pytest_timeout' 2>/dev/null; then more+=(--timeout 60 --timeout-method thread); fi
    if [ "$tests" -gt 0 ]; then # some failures say more than the first
        limited "$tests" "$python" -m pytest tests/gpu -m 'gpu and not slow' -q --maxfail=10 \
            "${more[@]}" -p no:cacheprovider
    fi

    section "memory of the persistent kernels"
    if [ "$sanitize" -gt 0 ]; then
        limited "$sanitize" compute-sanitizer --tool memcheck --error-exitcode 9 \
            "$python" -m pytest tests/gpu/test_paths.py -q -p no:cacheprovider \
            -k 'in_float64 and persistent and 33-17-20-130 and float32 and not peephole and (lstm or gru)'
    fi

    section "grid"
    if [ "$grid" -gt 0 ]; then
        limited $((grid + 20)) "$python" benchmarks/gpu.py --out "$out" --budget "$grid" >"$cache/table"
        table "$cache/table"
    fi

    local left=$((total - SECONDS - 35)) # the fit, and what is packed
    section "plans"
    if [ "$left" -gt 20 ]; then
        limited $((left + 20)) "$python" benchmarks/gpu.py --tune --out "$out" --budget "$left" >"$cache/table"
        table "$cache/table"
    fi

    section "compiled kernels, for the next session"
    limited 10 tar -czf "$out/cache.tar.gz" -C "$cache" cupy numba
    find "$out" -name cache.tar.gz -size +15M -delete
    ls -l "$out"
}

main 2>&1 | tee -a "$out/gpu-session.log"
