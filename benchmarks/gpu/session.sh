#!/usr/bin/env bash
# A call of gpu_session.py on a machine that is lent and bare. benchmarks/README.md says what it needs and leaves.
#
#     OUT=folder CARRIED=.gpu PYTHON=python3 bash benchmarks/gpu_session.sh 1    # and 2, with the files of 1
set -uo pipefail
cd "$(dirname "$0")/.."
call=${1:?which call: 1 or 2} out=${OUT:-benchmarks/results} carried=${CARRIED:-.gpu} python=${PYTHON:-python3}
cache=$(mktemp -d)
trap 'rm -rf "$cache"' EXIT
mkdir -p "$out" "$cache/cupy"
export CUPY_CACHE_DIR=$cache/cupy PYTHONUNBUFFERED=1 PYTHONPATH=$PWD/benchmarks${PYTHONPATH:+:$PYTHONPATH}
for wheel in "$carried"/*.whl; do # of pure Python: they need not be installed
    if [ -f "$wheel" ]; then export PYTHONPATH=$(realpath "$wheel"):$PYTHONPATH; fi
done

main() {
    if [ -f "$carried/cache.tar.gz" ]; then tar -xzf "$carried/cache.tar.gz" -C "$cache"; fi
    "$python" benchmarks/gpu_session.py "$call" "$out"
    timeout 10 tar -czf "$out/cache.tar.gz" -C "$cache" cupy # compiled kernels, for the next call
    find "$out" -name cache.tar.gz -size +15M -delete
    ls -l "$out"
}

main 2>&1 | tee "$out/gpu-session-$call.log"
