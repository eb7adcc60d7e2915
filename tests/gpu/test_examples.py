"""Every example in its short form on the GPU."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from gpu_home import NAME, gpu

import xprnn

pytestmark = [pytest.mark.gpu, pytest.mark.slow]
gpu()
ROOT = Path(xprnn.__file__).parents[1]
EXAMPLES = sorted(path for path in (ROOT / "examples").glob("*.py") if path.name not in ("common.py", "__init__.py"))


@pytest.mark.skipif(NAME != "cupy", reason="examples know numpy and cupy")
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example(path, tmp_path):
    done = subprocess.run(
        [sys.executable, str(path), "--quick", "--backend", "cupy", "--output", str(tmp_path)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
