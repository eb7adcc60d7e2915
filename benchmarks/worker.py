"""One contender in a process of its own: reads tasks, one JSON object a line, and answers in the same way."""

from __future__ import annotations

import importlib
import json
import sys
import time

import numpy as np
from contenders import CONTENDERS


def main(name: str) -> None:
    """Answer "version"; "make" with whether the contender can do it; "sample" with the mean seconds of a run."""
    answers = sys.stdout
    sys.stdout = sys.stderr  # libraries print, and must not answer
    run = None
    for line in sys.stdin:
        task = json.loads(line)
        if "version" in task:
            answer = importlib.import_module(name.split()[0]).__version__
        elif "make" in task:
            arrays = dict(np.load(task["make"]["arrays"]))
            run = CONTENDERS[name](task["make"]["kind"], arrays, task["make"]["training"])
            answer = run is not None
            if run is not None:
                found = [a.float() if hasattr(a, "float") else a for a in run()]  # NumPy has no bfloat16
                np.savez(task["make"]["results"], *map(np.asarray, found))
        else:
            run()
            count, start = 0, time.perf_counter()
            while count == 0 or time.perf_counter() - start < task["sample"]:
                run()
                count += 1
            answer = (time.perf_counter() - start) / count
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1])
