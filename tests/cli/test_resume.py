"""``--resume`` of the commands that train: stopped and started again, the model of one that never was."""

import pytest
from click.testing import CliRunner

from xprnn.cli import main

ROWS = [(f"w{n}", n % 2 + t / 9, "up" if n % 2 else "down") for n in range(20) for t in range(4)]
COMMANDS = {
    "classify": ["--id", "who", "--label", "kind", "--dropout", "0.3"],
    "detect": ["--id", "who", "--column", "x"],
    "sentiment": ["--text", "who", "--label", "kind"],
}


def run(name, folder, epochs, *arguments):
    out = folder / "out" / "model.safetensors" if name == "sentiment" else folder / "out"
    (folder / "out").mkdir(parents=True, exist_ok=True)
    given = ["train", folder.parent / "in.csv", "--out", out, "--epochs", epochs, "--hidden", "4", *arguments]
    result = CliRunner().invoke(main, [name, *map(str, [*given, *COMMANDS[name]])])
    assert result.exit_code == 0, result.output
    return (folder / "out" / "model.safetensors").read_bytes()


@pytest.mark.parametrize("name", COMMANDS)
def test_a_command_goes_on(name, tmp_path):
    (tmp_path / "in.csv").write_text("\n".join(["who,x,kind", *(f"{w},{x},{kind}" for w, x, kind in ROWS)]))
    file = tmp_path / "run.safetensors"
    run(name, tmp_path / "part", 1, "--resume", file)
    before = file.read_bytes()
    resumed = run(name, tmp_path / "part", 3, "--resume", file)
    assert file.read_bytes() != before
    assert resumed == run(name, tmp_path / "whole", 3)


@pytest.mark.parametrize("name", COMMANDS)
def test_a_training_is_not_kept_in_what_is_written_at_the_end(name, tmp_path):
    (tmp_path / "in.csv").write_text("\n".join(["who,x,kind", *(f"{w},{x},{kind}" for w, x, kind in ROWS)]))
    model = tmp_path / "model.safetensors"
    given = ["train", tmp_path / "in.csv", "--out", model if name == "sentiment" else tmp_path]
    given += ["--resume", tmp_path / "." / "model.safetensors", "--epochs", 1, *COMMANDS[name]]
    result = CliRunner().invoke(main, [name, *map(str, given)])
    assert result.exit_code == 2
    assert f"{model} would be both result and training: give another --resume" in result.stderr
    assert not model.exists()


def test_a_file_that_cannot_be_written_is_said_before_the_work(tmp_path):
    (tmp_path / "in.csv").write_text("who,x,kind\n")
    given = ["train", tmp_path / "in.csv", "--out", tmp_path, "--resume", tmp_path, *COMMANDS["classify"]]
    result = CliRunner().invoke(main, ["classify", *map(str, given)])
    assert result.exit_code == 1
    assert "is a folder; expected the name of a file to write" in result.stderr
