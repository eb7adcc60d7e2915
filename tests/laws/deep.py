"""As many drawn examples of every law as wanted, counted: python tests/laws/deep.py --examples 100000

It goes round by round over all layers, each round with another seed, and prints after each how many examples every law
has passed: so a run that is stopped has been everywhere. Broken laws are printed with their smallest example, the run
goes on, and ends with 1.
"""

import argparse
import time
import traceback
from collections import Counter

from hypothesis import HealthCheck, given, seed, settings
from test_laws import LAYERS, build

from xprnn.testing import LAWS
from xprnn.testing.laws import applies
from xprnn.testing.strategies import examples


def pairs(layers):
    """(law, name of a layer) of all laws and of the layers that each is about."""
    return [(law, name) for name in layers for law in LAWS if applies(law, build(name, "float64", "numpy"))]


def passed(law, name, draws, number):
    """How many of so many drawn examples a layer passed, all of them or an exception."""
    layer, count = build(name, "float64", "numpy"), 0

    @seed(number)
    @settings(max_examples=draws, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
    @given(examples(layer, 3))
    def check(example):
        nonlocal count
        LAWS[law](layer, example)
        count += 1

    check()
    return count


def run(wanted, draws, number, layers):
    """(examples that each law has passed, failures by law and layer), after each round."""
    counts, failures, todo = Counter(), Counter(), pairs(layers)
    while todo:
        for law, name in todo:
            try:
                counts[law] += passed(law, name, draws, number)
            except Exception:
                failures[law, name] += 1
                print(f"\n{law}, {name}, seed {number}:\n{traceback.format_exc()}", flush=True)
        yield counts, failures
        number += 1
        todo = [(law, name) for law, name in todo if counts[law] < wanted and failures[law, name] < 3]


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--examples", type=int, default=100_000, help="that each law shall have passed")
    parser.add_argument("--round", type=int, default=25, help="examples of each law and layer in one round")
    parser.add_argument("--seed", type=int, default=0, help="of the first round; later ones count on from it")
    arguments = parser.parse_args()
    began, failures = time.monotonic(), Counter()
    for counts, failures in run(arguments.examples, arguments.round, arguments.seed, LAYERS):
        print(f"\n{sum(counts.values())} examples, {len(failures)} broken, {time.monotonic() - began:.0f} s")
        for law in LAWS:
            print(f"  {counts[law]:>8}  {law}", flush=True)
    raise SystemExit(bool(failures))


if __name__ == "__main__":
    main()
