"""Arithmetic of scalars alone in users' rules: moved to the scalars function, with errors about what the user wrote."""

import pickle
import warnings

import numpy as np
import pytest
from cases import data, same
from custom_rules import lifted, lifted_other, lifted_twin

import fastopt as fo
from fastopt._codegen.subset import RuleError
from fastopt._engine import dispatch


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("FASTOPT_CACHE_DIR", str(tmp_path_factory.getbasetemp() / "own"))


def ignored(*arguments, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        return fo.optimizer(*arguments, **options)


def test_arithmetic_of_scalars_is_lifted():
    names = [name for name, _ in lifted.text.scalars.values]
    assert names == ["beta", "beta2", "keep", "of_beta2", "of_beta2_2", "of_lr", "of_lr_2"]
    for dtype in (np.float32, np.float64):
        made = [ignored(rule, data(300, dtype), lr=0.01) for rule in (lifted, lifted_twin)]
        for k in range(3):
            assert [optimizer.step(data(300, dtype, k)) for optimizer in made] == [True, True]
        assert same(made[0].params, made[1].params) and made[0].state["0"]["v"].any()
        w = np.zeros(5, dtype)
        ignored(lifted_other, w, lr=0.25).step(np.ones(5, dtype))
        assert (w == -dtype(0.25 * 0.75 + np.sqrt(0.25))).all()
    assert pickle.loads(pickle.dumps(made[0])).fingerprint() == made[0].fingerprint()
    if dispatch.TABLE is not None:
        fo.testing.check_rule(lifted, lr=0.01)
        fo.testing.check_rule(lifted_other)


WRITTEN = {
    "k = 1 - lr\n    k *= 2\n    return k * g": "'k .= 2' is not 'name = expression'",
    "k = 1 - lr\n    p2 = k * g\n    k = 2 - lr\n    return p2": "'1 - lr' depends on no array: it belongs in the scalars function",
    "k, j = 1 - lr, lr * 2\n    return k * g": "'k, j = .1 - lr, lr . 2.' is not 'name = expression'",
    "q = k * g\n    k = 1 - lr\n    return q": "'k' is not allowed in an update",
    "return (1 - lr) * g ** 2": "'g .. 2' is not allowed in an update",
    "return 99999999999999999999 * lr * g": "99999999999999999999: a whole number of more than 53 bits",
    "return 1 - lr": "'1 - lr' depends on no array",
}


@pytest.mark.parametrize("body", WRITTEN)
def test_errors_quote_what_the_user_wrote(body, tmp_path, monkeypatch):
    name = f"written{[*WRITTEN].index(body)}"
    (tmp_path / f"{name}.py").write_text(f"import fastopt as fo\n\n@fo.rule\ndef bad(p, g, *, lr=0.5):\n    {body}\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(RuleError, match=rf"{name}.py:\d+: .*{WRITTEN[body].replace('.. 2', '[*][*] 2').replace('. 2', '[*] 2')}"):
        fo.optimizer(__import__(name).bad, np.ones(2))


def test_chains_of_scalars_are_computed_once_each(tmp_path, monkeypatch):
    lines = "".join(f"    a{k + 1} = a{k} * a{k}\n" for k in range(40))
    (tmp_path / "chain.py").write_text(
        f"import fastopt as fo\n\n@fo.rule\ndef chain(p, g, *, lr=1.0):\n    a0 = lr * 1\n{lines}    return a40 * g\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    w = np.zeros(2)
    ignored(__import__("chain").chain, w).step(np.ones(2))
    assert (w == -1).all()


def test_a_root_is_lifted_only_where_it_is_known(tmp_path, monkeypatch):
    (tmp_path / "with_root.py").write_text("from fastopt.arithmetic import sqrt\n\ndef up(p, g, *, lr):\n    return sqrt(lr) * g\n")
    (tmp_path / "without.py").write_text("from math import sqrt\n\ndef scalars(t, *, lr=0.25):\n    return {'lr': lr}\n")
    monkeypatch.syspath_prepend(tmp_path)
    rule = fo.rule(__import__("with_root").up)
    rule.scalars(__import__("without").scalars)
    w = np.zeros(2)
    ignored(rule, w).step(np.ones(2))
    assert (w == -0.5).all() and [name for name, _ in rule.text.scalars.values] == ["lr"]
