"""configurator.py: precedence, types, and one clear line for each mistake."""
import os
import subprocess
import sys
from dataclasses import dataclass

import pytest

from configurator import configure
from conftest import ROOT


@dataclass
class Settings:
    n_head: int = 4                     # heads
    n_embd: int = 128                   # width
    learning_rate: float = 3e-4
    out_midi: bool = False              # also write MIDI
    compile: bool | str = 'auto'
    prompt: str = ''
    seed: int | None = 1
    snapshots: list[int] | None = None
    source: str | list[str] = 'bundled'


@dataclass
class WithPaths:
    paths: list[str] | None = None
    seed: int = 1


def config(tmp_path, text, name='c.py'):
    path = tmp_path / name
    path.write_text(text)
    return str(path)


def mistake(capsys, argv, cls=Settings):
    """The one line that configure prints on these arguments."""
    with pytest.raises(SystemExit) as e:
        configure(cls, argv)
    out, err = capsys.readouterr()
    assert e.value.code == 2 and out == '' and err.startswith('error: ') and err.count('\n') == 1
    return err


def test_command_line_beats_config_beats_default_in_any_order(tmp_path):
    c = config(tmp_path, 'n_head = 8\nn_embd = 64')
    for argv in ([c, '--n_head=2'], ['--n_head=2', c]):
        s = configure(Settings, argv)
        assert (s.n_head, s.n_embd, s.learning_rate) == (2, 64, 3e-4)


def test_what_stands_after_a_bare_flag_counts_too():
    s = configure(Settings, ['--out_midi', '--n_head=2', '--seed', '7', '--compile', '--prompt=x'])
    assert (s.out_midi, s.n_head, s.seed, s.compile, s.prompt) == (True, 2, 7, True, 'x')


def test_later_config_beats_earlier_and_sees_its_values(tmp_path):
    a = config(tmp_path, 'n_head = 8\nn_embd = 64', 'a.py')
    b = config(tmp_path, 'import math\n_unit = 3\nn_embd = _unit * int(math.sqrt(n_head * 2))', 'b.py')
    s = configure(Settings, [a, b])
    assert (s.n_head, s.n_embd) == (8, 12)


def test_what_a_config_computes_from_a_name_sees_its_flag(tmp_path):
    c = config(tmp_path, 'n_head = 3\nlearning_rate = 1 / n_head\ndef double():\n    return 2 * n_head + _two\n'
                         '_two = 2\nn_embd = double()')
    s = configure(Settings, [c])
    assert (s.n_head, s.learning_rate, s.n_embd) == (3, 1 / 3, 8)
    for argv in ([c, '--n_head=6'], ['--n_head', '6', c]):
        s = configure(Settings, argv)
        assert (s.n_head, s.learning_rate, s.n_embd) == (6, 1 / 6, 14)


def test_flags_are_checked_before_a_config_runs(tmp_path, capsys):
    assert "'n_head' must be int, not 'two'" in mistake(capsys, [config(tmp_path, 'n_embd = 1 / 0'), '--n_head=two'])


def test_imports_functions_and_classes_of_a_config_are_no_settings(tmp_path):
    s = configure(Settings, [config(tmp_path, 'import math\nfrom math import sqrt\nfrom pathlib import Path\n'
                                              'class Size:\n    heads = 4\ndef square(x):\n    return x * x\n'
                                              '_three = 3\nn_embd = square(Size.heads) * int(sqrt(math.ceil(3.5)))\n'
                                              "prompt = str(Path('a') / 'b')")])
    assert (s.n_embd, s.prompt) == (32, os.path.join('a', 'b'))


def test_a_run_is_named_after_its_configs_and_the_size_of_a_family(tmp_path):
    family = config(tmp_path, 'n_embd = 64\n_size = n_embd', 'family.py')
    overlay = config(tmp_path, 'seed = n_embd', 'overlay.py')
    for argv, name in (([], ''), ([overlay], 'overlay'), ([family], 'family-64'),
                       ([family, '--n_embd=96', overlay], 'family-96-overlay')):
        assert configure(Settings, argv).run_name == name
    assert configure(Settings, [family, overlay, '--n_embd=96']).seed == 96


def test_configurator_prints_what_config_and_flags_come_to(tmp_path):
    c = config(tmp_path, 'import math\nn_head = 2\nn_embd = 32 * n_head\n_own = 1')
    run = subprocess.run([sys.executable, os.path.join(ROOT, 'configurator.py'), c, '--n_head=3', '--prompt=x'],
                         capture_output=True, text=True, cwd=tmp_path)
    assert run.stdout == "n_embd = 96\nn_head = 3\nprompt = 'x'\n"


@pytest.mark.parametrize('argv, name, value', [
    (['--n_head', '2'], 'n_head', 2),
    (['--n_embd=1e3'], 'n_embd', 1000),
    (['--n_embd=1_000'], 'n_embd', 1000),
    (['--learning_rate=1'], 'learning_rate', 1.0),
    (['--learning_rate', '-1e-3'], 'learning_rate', -1e-3),
    (['--out_midi'], 'out_midi', True),
    (['--out_midi', '--n_head=2'], 'out_midi', True),
    (['--out_midi=false'], 'out_midi', False),
    (['--out_midi', 'false'], 'out_midi', False),
    (['--compile'], 'compile', True),
    (['--compile=False'], 'compile', False),
    (['--compile=auto'], 'compile', 'auto'),
    (['--prompt=L:1/8\nK:G\n[V:1]G=FA2|'], 'prompt', 'L:1/8\nK:G\n[V:1]G=FA2|'),
    (['--prompt=3'], 'prompt', '3'),
    (['--seed=None'], 'seed', None),
    (['--snapshots=8e6,20e6'], 'snapshots', [8_000_000, 20_000_000]),
    (['--snapshots=8'], 'snapshots', [8]),
    (['--snapshots=[1, 2]'], 'snapshots', [1, 2]),
    (['--source=a,b'], 'source', ['a', 'b']),
    (['--source=a'], 'source', 'a'),
])
def test_values_on_the_command_line(argv, name, value):
    got = getattr(configure(Settings, argv), name)
    assert got == value and type(got) is type(value)


def test_types_in_config_files(tmp_path):
    s = configure(Settings, [config(tmp_path, "learning_rate = 1\nn_embd = 1e3\nseed = None\nsource = ('a', 'b')\ncompile = True")])
    assert (s.learning_rate, s.n_embd, s.seed, s.source, s.compile) == (1.0, 1000, None, ['a', 'b'], True)
    assert type(s.learning_rate) is float and type(s.n_embd) is int


@pytest.mark.parametrize('argv, said', [
    (['--n_haed=2'], "command line: unknown setting 'n_haed'; nearest known name: 'n_head'"),
    (['--n_head=two'], "'n_head' must be int, not 'two'"),
    (['--n_head=1.5'], "'n_head' must be int, not 1.5"),
    (['--n_head=True'], "'n_head' must be int, not True"),
    (['--out_midi=2'], "'out_midi' must be bool"),
    (['--seed=x'], "'seed' must be int or None"),
    (['--seed=-1'], "'seed' must be at least 0"),
    (['--snapshots=1,x'], "'snapshots' must be list[int] or None"),
    (['--n_head'], '--n_head needs a value'),
    (['-n=2'], "'-n=2' is no setting"),
    (['stray'], "'stray' is neither a config file"),
    (['nowhere.py'], "no config file 'nowhere.py'"),
])
def test_mistakes_on_the_command_line_are_one_line(argv, said, capsys):
    assert said in mistake(capsys, argv)


@pytest.mark.parametrize('text, said', [
    ('n_heads = 2', "unknown setting 'n_heads'; nearest known name: 'n_head'"),
    ("n_head = 'two'", "'n_head' must be int, not 'two'"),
    ('n_head = 1 / 0', 'ZeroDivisionError'),
    ('n_head = (', 'SyntaxError'),
    ('def n_head(): pass', "'n_head' must be int, not <function"),
])
def test_mistakes_in_a_config_name_the_file(text, said, tmp_path, capsys):
    path = config(tmp_path, text)
    err = mistake(capsys, [path])
    assert path in err and said in err


def test_a_misspelt_config_is_told_its_neighbour(tmp_path, capsys):
    config(tmp_path, '', 'gpt_large.py')
    assert 'gpt_large.py' in mistake(capsys, [str(tmp_path / 'gpt_lrage.py')]).partition('did you mean')[2]


def test_positional_arguments_go_to_paths_where_there_is_such_a_field():
    assert configure(WithPaths, ['a.pt', '--seed=2', 'b.pt']).paths == ['a.pt', 'b.pt']


def test_help_prints_the_block_with_its_comments(capsys):
    with pytest.raises(SystemExit) as e:
        configure(Settings, ['--help'])
    out = capsys.readouterr().out
    assert e.value.code == 0 and 'n_embd: int = 128                   # width' in out and 'one clear line for each mistake' in out


def test_ctrl_c_is_one_line_and_a_bug_a_traceback(capsys):
    import configurator
    configurator.one_line(KeyboardInterrupt, KeyboardInterrupt(), None)
    assert capsys.readouterr().err == 'stopped\n'
    configurator.one_line(ZeroDivisionError, ZeroDivisionError('of zero'), None)
    assert 'ZeroDivisionError: of zero' in capsys.readouterr().err
