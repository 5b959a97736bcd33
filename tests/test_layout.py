"""Eight scripts at the top level, packages below them, and imports that run one way (MAY_IMPORT below)."""
import ast
import os
import runpy
import sys

import pytest

from conftest import ROOT

STAGES = {'prepare', 'train', 'fit_scaling', 'sample'}
TOP_LEVEL = STAGES | {'bpe', 'model', 'lstm', 'configurator'}
MAY_IMPORT = {
    'configurator': set(), 'plumbing': set(), 'music': set(), 'bpe': set(), 'model': set(), 'lstm': {'model'},
    'corpus': {'music'}, 'training': set(), 'scaling': {'train', 'training'}, 'sampling': {'music'},
    'prepare': {'corpus', 'music', 'bpe'}, 'train': {'training', 'model', 'lstm'}, 'fit_scaling': {'scaling', 'training'},
    'sample': {'sampling', 'music', 'bpe', 'train'},        # train.py has the table of architectures
}
PACKAGES = set(MAY_IMPORT) - TOP_LEVEL
EVERYWHERE = {'plumbing', 'configurator'}


def modules():
    """{dotted name: path} of the top level and the packages."""
    found = {name[:-3]: os.path.join(ROOT, name) for name in os.listdir(ROOT) if name.endswith('.py')}
    for package in (*PACKAGES, 'experiments'):
        found |= {f'{package}.{name[:-3]}'.removesuffix('.__init__'): os.path.join(ROOT, package, name)
                  for name in os.listdir(os.path.join(ROOT, package)) if name.endswith('.py')}
    return found


def imports(path, known):
    """Our modules that the file imports, anywhere in it."""
    with open(path, encoding='utf-8') as f:
        tree = ast.parse(f.read())
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f'{node.module}.{alias.name}' if f'{node.module}.{alias.name}' in known else node.module
                      for alias in node.names}
    return names & set(known)


def test_the_top_level_has_eight_scripts():
    assert {name.removesuffix('.py') for name in os.listdir(ROOT) if name.endswith('.py')} == TOP_LEVEL


def test_imports_run_one_way():
    known = modules()
    for name, path in known.items():
        home = name.split('.')[0]
        if home != 'experiments':
            theirs = {other.split('.')[0] for other in imports(path, known)} - EVERYWHERE - {home}
            assert theirs <= MAY_IMPORT[home], f'{name} imports {sorted(theirs - MAY_IMPORT[home])}'


def test_no_module_imports_itself_in_a_circle():
    known = modules()
    waiting = {name: imports(path, known) - {name} for name, path in known.items()}
    while ready := [name for name, needs in waiting.items() if not needs & set(waiting)]:
        for name in ready:
            del waiting[name]
    assert not waiting


def test_no_name_of_the_standard_library_is_taken():
    assert not {part for name in modules() for part in name.split('.')} - {'__main__'} & sys.stdlib_module_names


def test_files_are_short_enough_to_read():
    for name, path in modules().items():
        with open(path, encoding='utf-8') as f:
            lines = f.read().splitlines()
        assert len(lines) <= 480, f'{name}: {len(lines)} lines'     # of at most 100 columns; model.py is the longest
        assert max(map(len, lines), default=0) <= 100, f'{name} has a line over 100 characters'


@pytest.mark.parametrize('script', sorted(STAGES))
def test_a_script_runs_from_any_directory(script, monkeypatch, tmp_path, capsys):
    """In this process, which has torch, with none of our modules and with the path of the script alone."""
    monkeypatch.chdir(tmp_path)
    ours = {name.split('.')[0] for name in modules()}
    for name in list(sys.modules):
        if name.split('.')[0] in ours:
            monkeypatch.delitem(sys.modules, name)
    others = [path for path in sys.path if path not in ('', ROOT) and not path.startswith(os.path.join(ROOT, 'tests'))]
    monkeypatch.setattr(sys, 'path', [ROOT, *others])
    monkeypatch.setattr(sys, 'argv', [f'{ROOT}/{script}.py', '--help'])
    with pytest.raises(SystemExit) as e:
        runpy.run_path(sys.argv[0], run_name='__main__')
    said = capsys.readouterr().out
    assert e.value.code == 0 and f'{script}.py' in said and 'settings (' in said
