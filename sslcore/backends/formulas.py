"""Formulas of kernels: the small language in which a profile f(t) is declared, and the only way it becomes code.

An expression valid both in Python and in C++: the pair value ``t``, the constants ``c0`` to ``c3``, the functions
``exp``, ``sqrt`` and ``cos2pi``, ``real(1)`` for a number, ``+ - * /`` and parentheses.  A formula may come from a
file, so nothing is evaluated, or handed to a compiler, that `check_formula` has not read.
"""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Mapping
from types import CodeType
from typing import Any

__all__ = ["check_formula", "evaluate_formula"]

LONGEST = 1 << 14
"""Characters of the longest formula: `Polynomial(63)` has 600."""
_NAMES = ("t", "c0", "c1", "c2", "c3")
_FUNCTIONS = ("exp", "sqrt", "cos2pi")
_LANGUAGE = (
    "a formula is made of t, c0 to c3, exp(...), sqrt(...), cos2pi(...), real(1) for a number, + - * / and parentheses"
)
_TOKENS = re.compile(
    r"(?:[A-Za-z_][A-Za-z_0-9]*|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?(?![A-Za-z_0-9.])|[-+*/() ])*"
)


def check_formula(formula: Any) -> str:
    """Return ``formula`` if it is one.

    Raises
    ------
    TypeError
        If it is no string.
    ValueError
        If it is not an expression of the language of the module's docstring; the message names what is not.

    Examples
    --------
    >>> from sslcore.backends.formulas import check_formula
    >>> check_formula("exp(c0 * t)")
    'exp(c0 * t)'
    >>> check_formula("t.real")
    Traceback (most recent call last):
        ...
    ValueError: 't.real' is no formula of a kernel, for '.real': a formula is made of t, c0 to c3, exp(...), ...
    """
    if not isinstance(formula, str):
        raise TypeError(f"the formula of a kernel must be a string, found {type(formula).__name__}")
    return _checked(str(formula))


def evaluate_formula(formula: str, values: Mapping[str, Any]) -> Any:
    """Evaluate a formula by Python, where its names have these ``values``."""
    return eval(_compiled(check_formula(formula)), {"__builtins__": {}}, dict(values))


@functools.lru_cache(maxsize=1024)
def _checked(formula: str) -> str:
    if len(formula) > LONGEST:
        raise ValueError(f"the formula of a kernel has at most {LONGEST} characters, found {len(formula)}")
    end = _TOKENS.match(formula).end()  # type: ignore[union-attr]
    if end < len(formula):
        raise _refusal(formula, formula[end:])
    if "--" in formula or "++" in formula:  # C++ counts down and up there
        raise _refusal(formula, "--" if "--" in formula else "++")
    try:
        tree = ast.parse(formula, mode="eval")
        _check_tree(formula, tree.body)
    except (SyntaxError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else "too deeply nested"
        raise ValueError(f"{_shown(formula)} is no formula of a kernel ({reason}): {_LANGUAGE}") from None
    return formula


@functools.lru_cache(maxsize=1024)
def _compiled(formula: str) -> CodeType:
    return compile(formula, "<formula>", "eval")


def _check_tree(formula: str, node: ast.expr) -> None:
    """Walk the tree, and refuse a node that is none of the language, or is made of something that is none."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add | ast.Sub | ast.Mult | ast.Div):
        _check_tree(formula, node.left)
        _check_tree(formula, node.right)
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        _check_tree(formula, node.operand)
    elif isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and len(node.args) == 1 and not node.keywords:
        if node.func.id == "real":
            _check_number(formula, node.args[0])
        elif node.func.id in _FUNCTIONS:
            _check_tree(formula, node.args[0])
        else:
            raise _refusal(formula, node.func.id)
    elif not (isinstance(node, ast.Name) and node.id in _NAMES):
        raise _refusal(formula, ast.unparse(node))


def _check_number(formula: str, node: ast.expr) -> None:
    literal = node.operand if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub) else node
    value = literal.value if isinstance(literal, ast.Constant) else None
    if type(value) not in (int, float) or not abs(value) <= 2**53:  # type: ignore[arg-type]
        raise _refusal(formula, f"real({ast.unparse(node)})")


def _refusal(formula: str, found: str) -> ValueError:
    return ValueError(f"{_shown(formula)} is no formula of a kernel, for {_shown(found)}: {_LANGUAGE}")


def _shown(text: str) -> str:
    return repr(text if len(text) <= 60 else text[:57] + "...")
