#!/usr/bin/env bash
# Runs tests of the Python side on a module built with sanitizers: sanitized_python.sh PYTHON BUILD [pytest arguments]
#
# Python itself is built without, so the sanitizer's library must be loaded before it, and the C++ library with it, whose
# exceptions it watches. Python's own allocator would hide blocks that are used after they were freed. What the
# interpreter leaves behind at its end is not ours. `-S` keeps the installed package's hook from being the one imported.
set -euo pipefail
python=$1 build=$2
shift 2
libraries=$("$python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
rm -rf "$build/python" && mkdir "$build/python"
cp -r src/foredraft "$build/python/"
cmake --install "$build" --prefix "$build/python" > "$build/python/install.log"
if [ $# -eq 0 ]; then
  set -- tests/native/test_packed.py tests/native/test_reader.py tests/native/test_sampling.py
fi
env PYTHONPATH="$build/python:$libraries" PYTHONMALLOC=malloc ASAN_OPTIONS=detect_leaks=0 OMP_NUM_THREADS=1 \
  LD_PRELOAD="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libstdc++.so.6)" \
  "$python" -S -m pytest -q -p no:cacheprovider "$@"
