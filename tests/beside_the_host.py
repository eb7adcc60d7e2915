"""Runs a script that chooses the backend "cupy" on array_api_strict's second device instead.

Nothing of the host mixes with that device, and nothing beyond the array API's standard works there: what runs to its
end has neither in it.
"""

import runpy
import sys
from pathlib import Path

import array_api_strict

import xprnn

real = xprnn.backend.get_backend


def get_backend(name, device=None):
    if name != "cupy":
        return real(name, device)
    return real("array_api_strict", device or array_api_strict.Device("device1"))


def main(path, *arguments):
    for module in [module for name, module in sys.modules.items() if name.startswith("xprnn")]:
        if getattr(module, "get_backend", None) is real:
            module.get_backend = get_backend
    sys.argv = [path, *arguments]
    sys.path.insert(0, str(Path(path).parent))
    runpy.run_path(path, run_name="__main__")


if __name__ == "__main__":
    main(*sys.argv[1:])
