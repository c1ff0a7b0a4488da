"""Runs `BINARY ARGUMENTS…` in DIRECTORY; prints its exit code, its output, its wall time and its peak resident memory."""
import json
import os
import resource
import subprocess
import sys
import time

directory, cache, *command = sys.argv[1:]
start = time.monotonic()
done = subprocess.run(command, cwd=directory, env={**os.environ, "ODIBI_CACHE_DIR": cache}, capture_output=True, text=True)
print(json.dumps({
    "code": done.returncode,
    "stdout": done.stdout,
    "stderr": done.stderr,
    "seconds": time.monotonic() - start,
    # Linux reports kibibytes.
    "bytes": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024,
}))
