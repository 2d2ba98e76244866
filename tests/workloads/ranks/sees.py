"""What a process sees of itself; alike whether it is recorded or not."""

import json
import multiprocessing
import os
import subprocess
import sys


def tell(where):
    seen = {
        "argv": sys.argv,
        "name": [__name__, __file__, multiprocessing.current_process().name],
        "environment": sorted(os.environ),
        "inherited": subprocess.run(["env"], capture_output=True, text=True).stdout.count(
            "HASHSEED"
        ),
        "path": sys.path,
        "folder": os.getcwd(),
        "main": sorted(name for name in vars(sys.modules["__main__"]) if name.startswith("__")),
        "start": [multiprocessing.Process.start.__name__, sys.stdout.isatty()],
    }
    print(where, json.dumps(seen), flush=True)


if __name__ == "__main__":
    tell("main")
    for method in ("fork", "spawn", "forkserver"):
        process = multiprocessing.get_context(method).Process(target=tell, args=(method,))
        process.start()
        process.join()
