#!/bin/sh
# Checks and measures everything on a GPU, in under ten minutes. Parts, all by default:
#   check   losses of every kind of problem against those of the CPU
#   speed   steps per second: eager, compiled, in CUDA graphs; peak memory
#   cifar   a search for cells on CIFAR-10 with seven operations, and the error of what it finds;
#           needs cifar10-jpeg.tar.xz in the folder that SIF_DATA_DIR names
# Tables go to benchmarks/results/gpu/<card>/, or into the folder that SIF_GPU_OUTPUT names.
# Without a GPU it says so and exits with 2. SIF_GPU_DEVICE=cpu makes a dry run at a toy's size.
cd "$(dirname "$0")/.." || exit 1
[ $# -gt 0 ] || set -- check speed cifar
for part in "$@"; do
    case $part in
        check | speed | cifar) ;;
        *) echo "expected check, speed or cifar, found $part" >&2; exit 2 ;;
    esac
done
status=0
for part in "$@"; do
    PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}" "${PYTHON:-python}" "benchmarks/gpu/$part.py"
    code=$?
    [ $code -eq 2 ] && exit 2
    [ $code -eq 0 ] || status=1
done
exit $status
