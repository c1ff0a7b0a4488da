"""Runs `BINARY run -q` in DIRECTORY and prints the peak resident memory of that one child, in bytes."""
import os
import resource
import subprocess
import sys

binary, directory, cache = sys.argv[1:4]
subprocess.run([binary, "run", "-q"], cwd=directory, env={**os.environ, "ODIBI_CACHE_DIR": cache}, check=True, stdout=subprocess.DEVNULL)
# Linux reports kibibytes.
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024)
