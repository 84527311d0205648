"""Errors that users meet name what is wrong and what is expected; the table of them is complete."""

import ast
import re
from pathlib import Path

import pytest
from messages import TABLE

import fastopt as fo

PACKAGE = Path(fo.__file__).parent
# Messages that this table cannot provoke, and where they are tested.
ELSEWHERE = {
    "files.py": {"keys of ", "unknown", "ml_dtypes", "is not an object", "members ", " needs pickle", " in "},  # test_files.py
    "row_gradient.py": set(),
    "custom.py": {"runs interpreted"},  # test_interpreted.py
    "training.py": {"tqdm"},  # test_demo.py
    "optimizer.py": set(),
    "layout.py": {"expected an array"},
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
    """The messages of a file's raise statements, as patterns."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call) and node.exc.args:
            message = node.exc.args[0]
            parts = message.values if isinstance(message, ast.JoinedStr) else [message]
            texts = [re.escape(x.value) if isinstance(x, ast.Constant) else ".*" for x in parts]
            yield node.lineno, "".join(texts)


FOLDERS = ("_optimizer", "_arrays")
FILES_OF_USERS = [*(x for folder in FOLDERS for x in sorted((PACKAGE / folder).glob("*.py")))]
FILES_OF_USERS += [PACKAGE / f"{name}.py" for name in ("custom", "domains", "schedules", "spec", "training")]


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_the_table_is_complete(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    said = []
    for _, _, call in TABLE:
        with pytest.raises((Exception, SystemExit)) as info:
            call()
        said.append(str(info.value.args[0]))
    missing = [
        f"{path.name}:{line}: {pattern}"
        for path in FILES_OF_USERS
        for line, pattern in raised(path)
        if not any(re.fullmatch(pattern, text, re.DOTALL) for text in said)
        and not any(re.escape(part) in pattern for part in ELSEWHERE.get(path.name, ()))
    ]
    assert not missing
