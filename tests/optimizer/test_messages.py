"""Errors that users meet name what is wrong and what is expected; the table of them is complete."""

import ast
from pathlib import Path

import pytest
from messages import TABLE

import fastopt as fo
from fastopt._engine import dispatch

PACKAGE = Path(fo.__file__).parent
# Statements that this table cannot reach; other tests do, or nobody can.
ELSEWHERE = {
    "dtype .*: unknown",  # test_files.py
    "this file holds an array of .*, which needs ml_dtypes: pip install ml_dtypes",
    ".* is not an object",
    "members are missing, or unknown",
    "members are compressed",
    "members overlap",
    ".*: .* needs pickle",
    ".*: .* of .* in .* bytes",
    ".*: a dtype of .* fields, expected fewer",
    ".*...: names of .* characters, expected fewer than .*",
    ".*: .*, expected a dtype of NumPy or of ml_dtypes",
    "compile: this process runs interpreted, without the compiled engine",  # test_interpreted.py
    "fastopt.torch needs PyTorch: pip install torch",
    "schedule: a field of .*, expected numbers, words, tuples and schedules",  # test_schedules.py
    ".* has not fallen for .* epochs",  # ends a run: test_fit.py
    ".*: a generator of .*, expected the same kind of seed",  # test_resume.py
    ".*",  # custom.py, to be caught
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("error", "named", "call"), TABLE, ids=[" ".join(named)[:60] for _, named, _ in TABLE])
def test_messages(error, named, call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error) as info:
        call()
    said = str(info.value)
    assert type(info.value) in (error, fo.RuleError) and [part for part in named if part not in said] == [], said


def raised(path):
    """The lines of a file's raise statements with a message, and the messages as patterns."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            message = node.exc.args[0]
            parts = message.values if isinstance(message, ast.JoinedStr) else [message]
            pattern = "".join(x.value if isinstance(x, ast.Constant) else ".*" for x in parts)
            yield path.name, range(node.lineno, node.end_lineno + 1), pattern


def lines_of(error):
    """File and line of every frame of an error, and of those that led to it."""
    while error is not None:
        trace = error.__traceback__
        while trace is not None:
            yield Path(trace.tb_frame.f_code.co_filename).name, trace.tb_lineno
            trace = trace.tb_next
        error = error.__cause__ or error.__context__


FOLDERS = ("_optimizer", "_arrays", "schedules", "training", "minimization", "torch")
FILES_OF_USERS = [*(x for folder in FOLDERS for x in sorted((PACKAGE / folder).glob("*.py")))]
FILES_OF_USERS += [
    PACKAGE / f"{name}.py" for name in ("custom", "domains", "gradient", "plot", "spec", "testing", "_codegen/package")
]
if dispatch.TABLE is not None:
    # The C interface needs the compiled engine.
    FILES_OF_USERS += [PACKAGE / "embed" / "__init__.py"]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_table_is_complete(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    reached = set()
    for _, _, call in TABLE:
        with pytest.raises((Exception, SystemExit)) as info:
            call()
        reached |= {*lines_of(info.value)}
    statements = [statement for path in FILES_OF_USERS for statement in raised(path)]
    missed = [f"{name}:{lines[0]}: {said}" for name, lines, said in statements if not reached & {(name, k) for k in lines}]
    assert [x for x in missed if x.split(": ", 1)[1] not in ELSEWHERE] == []
    assert {said for _, _, said in statements} >= ELSEWHERE
