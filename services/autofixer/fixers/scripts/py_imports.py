"""Adds imports that a NameError, or a checker's "undefined name", asks for: modules of the standard
library, names that exactly one well-known module offers, and modules of the project itself that are
imported the same way elsewhere. usage: py_imports.py LOG"""
import ast
import builtins
import importlib
import os
import re
import sys

MODULES = (
    "collections", "typing", "pathlib", "dataclasses", "functools", "itertools", "contextlib", "decimal", "enum",
    "abc", "datetime", "fractions", "operator", "uuid", "io", "textwrap", "types", "threading", "subprocess",
    "concurrent.futures", "unittest.mock", "tempfile", "string", "statistics", "heapq", "bisect", "copy", "math",
)
ALIASES = {"np": "import numpy as np", "pd": "import pandas as pd", "plt": "import matplotlib.pyplot as plt"}
UNDEFINED = re.compile(
    r"NameError: (?:global )?name '(\w+)' is not defined|error: Name \"(\w+)\" is not defined"
    r"|[Uu]ndefined name [`'\"]?(\w+)"
)
PLACE = re.compile(r"(?:File \"([^\"]+\.py)\", line \d+|^\s*(?:-->\s*)?([^\s:]+\.py):\d+)")


def findings(log):
    """Pairs of a name and the project's file that lacks it. A traceback names the file before the
    error, pytest and some linters after it: whichever file really lacks the name is meant."""
    root, pairs, place, waiting = os.getcwd() + os.sep, [], None, []
    with open(log, errors="replace") as lines:
        for line in lines:
            line = line[:2000]
            at = PLACE.search(line)
            if at:
                path = os.path.abspath(at.group(1) or at.group(2))
                place = path if path.startswith(root) and os.path.isfile(path) else None
                pairs += [(name, place) for name in waiting if place and lacks(place, name)]
                waiting = [] if place else waiting
            found = UNDEFINED.search(line)
            if found:
                name = next(g for g in found.groups() if g)
                if place and lacks(place, name):
                    pairs.append((name, place))
                else:
                    waiting.append(name)
    return list(dict.fromkeys(pairs))


def lacks(path, name):
    """Whether the file uses a name that nothing in it defines."""
    try:
        with open(path) as text:
            nodes = list(ast.walk(ast.parse(text.read())))
    except (SyntaxError, UnicodeDecodeError, ValueError):
        return False
    used = any(isinstance(n, ast.Name) and n.id == name and isinstance(n.ctx, ast.Load) for n in nodes)
    quoted = any(isinstance(n, ast.Constant) and isinstance(n.value, str) and name in n.value for n in nodes)
    top = [n for n in nodes if isinstance(n, (ast.Import, ast.ImportFrom))]
    return (used or quoted) and not any((a.asname or a.name.split(".")[0]) == name for n in top for a in n.names)


def statement(name, source):
    """The one import that gives `name` its meaning, or None."""
    if name in ALIASES:
        return ALIASES[name]
    attribute = re.search(rf"\b{name}\.\w", source)
    offers = {m: getattr(importlib.import_module(m), name) for m in MODULES if offered(m, name)}
    if name in sys.stdlib_module_names and (attribute or not offers):
        if name == "datetime" and re.search(r"\bdatetime\.(now|utcnow|today|fromtimestamp|fromisoformat|strptime)\b", source):
            return "from datetime import datetime"
        return f"import {name}"
    if len(offers) > 1 and not re.search(rf"\b{name}\[", source):
        offers.pop("typing", None)
    if len({id(o) for o in offers.values()}) == 1:
        return f"from {next(iter(offers))} import {name}"
    if "typing" in offers and name[:1].isupper() and re.search(rf"\b{name}\[", source):
        return f"from typing import {name}"
    return elsewhere(name)


def offered(module, name):
    loaded = importlib.import_module(module)
    return name in getattr(loaded, "__all__", ()) or (module == "datetime" and hasattr(loaded, name))


def elsewhere(name):
    """How the rest of the project imports the name, when it does so in one way only."""
    ways = set()
    for folder, folders, files in os.walk("."):
        folders[:] = [f for f in folders if not f.startswith(".") and f not in ("node_modules", "__pycache__", "venv")]
        for file in files:
            if not file.endswith(".py"):
                continue
            try:
                with open(os.path.join(folder, file)) as text:
                    body = ast.parse(text.read()).body
            except (SyntaxError, UnicodeDecodeError, ValueError):
                continue
            for node in body:
                if isinstance(node, ast.Import):
                    ways |= {ast.unparse(ast.Import([a])) for a in node.names if (a.asname or a.name) == name}
                elif isinstance(node, ast.ImportFrom) and node.level == 0:
                    ways |= {
                        ast.unparse(ast.ImportFrom(node.module, [a], 0)) for a in node.names if (a.asname or a.name) == name
                    }
    return ways.pop() if len(ways) == 1 else None


def insert(path, line):
    """Puts the import below the docstring and future imports, beside the first imports."""
    with open(path, newline="") as text:
        source = text.read()
    body, at = ast.parse(source).body, 0
    for index, node in enumerate(body):
        docstring = index == 0 and isinstance(node, ast.Expr) and isinstance(getattr(node, "value", None), ast.Constant)
        future = isinstance(node, ast.ImportFrom) and node.module == "__future__"
        if not (docstring or future):
            break
        at = node.end_lineno
    imports = [n for n in body if isinstance(n, (ast.Import, ast.ImportFrom)) and n.lineno > at]
    if imports:
        at = imports[0].lineno - 1
    lines = source.splitlines(keepends=True)
    if not imports:
        while at < len(lines) and lines[at].startswith("#"):
            at += 1
    end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    lines.insert(at, line + end)
    with open(path, "w", newline="") as text:
        text.write("".join(lines))


def undefined(path):
    """Names that a file uses and nothing in it binds: what would fail next."""
    try:
        with open(path) as text:
            nodes = list(ast.walk(ast.parse(text.read())))
    except (SyntaxError, UnicodeDecodeError, ValueError):
        return []
    bound = set(dir(builtins)) | {"__file__"}
    for node in nodes:
        if isinstance(node, ast.Name) and not isinstance(node.ctx, ast.Load):
            bound.add(node.id)
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            bound.add(node.name)
        elif isinstance(node, ast.arg):
            bound.add(node.arg)
        elif isinstance(node, ast.ExceptHandler) and node.name:
            bound.add(node.name)
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            if any(a.name == "*" for a in node.names):
                return []
            bound |= {a.asname or a.name.split(".")[0] for a in node.names}
        elif type(node).__name__ in ("MatchAs", "MatchStar") and node.name:
            bound.add(node.name)
    used = [n.id for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Load)]
    return [name for name in dict.fromkeys(used) if name not in bound]


def main(log):
    pairs, unknown, done = findings(log), [], 0
    pairs += [(name, path) for path in dict.fromkeys(p for _, p in pairs) for name in undefined(path)]
    for name, path in dict.fromkeys(pairs):
        try:
            with open(path) as text:
                source = text.read()
            line = statement(name, source)
            if line is None:
                unknown.append(name)
            elif not re.search(rf"(?m)^{re.escape(line)}\b", source):
                insert(path, line)
                done += 1
        except (SyntaxError, UnicodeDecodeError, OSError) as error:
            print(f"{path}: {error}")
    if done:
        return 0
    if unknown:
        print("no single known module offers " + ", ".join(dict.fromkeys(unknown)))
        return 4
    return 3


sys.exit(main(sys.argv[1]))
