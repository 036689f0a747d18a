"""Nothing that Ladle reads can run as code: what our four packages may neither import nor call, found in their syntax.

It holds for our own modules. Libraries pickle where they like; that ours never hand them foreign data to unpickle is
what the calls below are about, and what tests with hostile files show (`tests/workers/test_hostile_models.py`,
`tests/rl_agent/policy/test_file.py`, `tests/broker_config/test_consumer.py`).
"""

from __future__ import annotations

import ast

import pytest
from source_tree import PACKAGES, modules

UNPICKLERS = {"_pickle", "cloudpickle", "dill", "joblib", "jsonpickle", "marshal", "pickle", "shelve", "yaml"}
EVALUATORS = {"__import__", "compile", "eval", "exec", "execfile"}
SHELLS = {"os.system", "os.popen", "subprocess.getoutput", "subprocess.getstatusoutput"}
FOREIGN_TABLES = {"ParquetFile", "ParquetDataset", "read_feather", "read_parquet", "read_pickle", "read_table"}
STABLE_BASELINES3_LOADERS = {"load_from_pkl", "load_from_zip_file", "load_replay_buffer"}

# What is allowed all the same, and why. An entry that nothing needs any more fails the test as well. None is needed for
# stable-baselines3, which pickles what it saves: a killed retraining goes on from safetensors (`retraining`).
ALLOWED = {
    ("planner/cli/main.py", "EntryPoint.load"): "commands that installed packages register, by their own metadata",
    ("planner/serving/placers.py", "EntryPoint.load"): "the placer that the settings of the planner name",
}


def name_of(node: ast.expr) -> str:
    """Return a dotted name such as torch.load; "" for anything else."""
    if isinstance(node, ast.Name):
        return node.id
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}".lstrip(".")
    return ""


def constant(call: ast.Call, keyword: str) -> object:
    """Return the literal value of a keyword, None without one, the expression where it is no literal."""
    for given in call.keywords:
        if given.arg == keyword:
            return given.value.value if isinstance(given.value, ast.Constant) else ast.unparse(given.value)
    return None


def dangers(tree: ast.AST):
    """Yield what may run foreign code."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (f"import {a.name}" for a in node.names if a.name.split(".")[0] in UNPICKLERS)
        elif isinstance(node, ast.ImportFrom) and node.module:
            roots = {node.module.split(".")[0], *(alias.name for alias in node.names)}
            yield from (f"import {name}" for name in roots & UNPICKLERS)
        elif isinstance(node, ast.Call):
            yield from dangers_of_call(node)


def dangers_of_call(call: ast.Call):
    name = name_of(call.func)
    last = name.rpartition(".")[2]
    owner = name.rpartition(".")[0].rpartition(".")[2]
    if name in EVALUATORS or name in SHELLS or last in FOREIGN_TABLES | STABLE_BASELINES3_LOADERS:
        yield name
    if name == "torch.load" and constant(call, "weights_only") is not True:
        yield "torch.load without weights_only=True"
    for keyword in ("allow_pickle", "shell", "trust_remote_code"):
        if constant(call, keyword) not in (None, False):
            yield f"{keyword}={constant(call, keyword)}"
    if last == "from_pretrained" and constant(call, "use_safetensors") is False:
        yield "from_pretrained(use_safetensors=False)"
    if last == "load" and (owner == "entry" or owner[:1].isupper() or owner == "cls"):
        yield "EntryPoint.load" if owner == "entry" else f"{owner}.load"  # stable-baselines3's, which unpickles


FOUND = {(path, danger) for path, tree in modules(*PACKAGES).items() for danger in dangers(tree)}


def test_our_packages_neither_unpickle_nor_evaluate():
    assert sorted(FOUND - ALLOWED.keys()) == []


def test_every_exception_is_still_needed_and_has_a_reason():
    assert sorted(ALLOWED.keys() - FOUND) == []
    assert all(ALLOWED.values())


@pytest.mark.parametrize(
    ("code", "danger"),
    [
        ("import pickle", "import pickle"),
        ("def f():\n    import yaml.loader", "import yaml.loader"),
        ("from dill import loads", "import dill"),
        ("from torch.package import pickle", "import pickle"),
        ("from multiprocessing.reduction import shelve as s", "import shelve"),
        ("eval('1')", "eval"),
        ("x = [exec(y) for y in z]", "exec"),
        ("os.system('ls')", "os.system"),
        ("subprocess.run('ls', shell=True)", "shell=True"),
        ("torch.load(path)", "torch.load without weights_only=True"),
        ("torch.load(path, weights_only=flag)", "torch.load without weights_only=True"),
        ("np.load(path, allow_pickle=True)", "allow_pickle=True"),
        ("X.from_pretrained(p, trust_remote_code=yes)", "trust_remote_code=yes"),
        ("PPO.load(path)", "PPO.load"),
        ("algorithms.LADTS.load(path)", "LADTS.load"),
        ("model.load_replay_buffer(path)", "model.load_replay_buffer"),
        ("parquet.read_table(path)", "parquet.read_table"),
    ],
)
def test_it_would_be_found(code, danger):
    assert danger in set(dangers(ast.parse(code)))


@pytest.mark.parametrize(
    "code", ["torch.load(p, weights_only=True)", "np.load(p)", "json.loads(t)", "model.eval()", "re.compile('x')"]
)
def test_what_is_harmless_is_not_found(code):
    assert set(dangers(ast.parse(code))) == set()
