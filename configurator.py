"""Settings of a script: a dataclass of defaults < config files < --key=value, whatever the order of the arguments.

    @dataclass
    class Settings:
        batch_size: int = 64          # sequences per optimiser step
        out_midi: bool = False        # also write MIDI

    settings = configure(Settings)    # reads sys.argv

`python train.py config/gpt_large.py --batch_size=96 --compile` reads the config file, then the command line. A config
file is plain Python assignments, which may compute (`n_embd = 64 * n_head`); names with a leading `_` are its own.
A bare `--flag` is true. What is wrong ends in one line on stderr and exit status 2; `--help` prints the settings block.
"""
import ast
import dataclasses
import difflib
import inspect
import os
import re
import runpy
import sys
import time
import types
import typing


def fail(message, status=2, of_this_rank=False):
    """The user's mistake: one line on stderr, exit status 2. Under torchrun what all ranks find is said once a node."""
    if of_this_rank or os.environ.get('LOCAL_RANK', '0') == '0':
        print(f'error: {message}', file=sys.stderr, flush=True)
    else:
        time.sleep(2)           # torchrun ends all ranks when the first one exits: let the one that speaks be that
    sys.exit(status)


def one_line(kind, error, trace):
    """What Python says of an error that nothing has caught: of Ctrl-C one line, of a bug its traceback."""
    print('stopped', file=sys.stderr) if issubclass(kind, KeyboardInterrupt) else sys.__excepthook__(kind, error, trace)


def configure(cls, argv=None):
    """Instance of the dataclass `cls` with config files and command line applied; exits (2) on a user's mistake.

    Positional arguments that end in .py are config files, read left to right; others go into the field `paths`, if
    `cls` has one. The instance also gets `config_files` (list of paths), for naming a run after its configs.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    hints = typing.get_type_hints(cls)
    fields = {f.name: hints[f.name] for f in dataclasses.fields(cls)}
    if '--help' in argv or '-h' in argv:
        print(help_text(cls))
        sys.exit(0)
    sys.excepthook = one_line
    config_files, paths, flags = [], [], []
    while argv:
        arg, argv = argv[0], argv[1:]
        if arg.startswith('--'):
            name, equals, text = arg[2:].partition('=')
            check_name(name, fields, 'command line')
            if not equals:
                text, argv = value_of_bare_flag(name, fields[name], argv)
            flags.append((name, text))
        elif arg.startswith('-') and len(arg) > 1:
            fail(f'command line: {arg!r} is no setting; settings are written --name=value (see --help)')
        elif arg.endswith('.py'):
            config_files.append(arg)
        elif 'paths' in fields:
            paths.append(arg)
        else:
            fail(f'command line: {arg!r} is neither a config file (.py) nor a setting (--name=value)')

    settings = cls()
    for path in config_files:
        for name, value in read_config(path, vars(settings)).items():
            check_name(name, fields, path)
            setattr(settings, name, checked(value, fields[name], name, path))
    for name, text in flags:
        setattr(settings, name, parse(text, fields[name], name))
    if paths:
        settings.paths = paths
    settings.config_files = config_files
    if (getattr(settings, 'seed', 0) or 0) < 0:
        fail(f"'seed' must be at least 0, not {settings.seed}")
    return settings


def value_of_bare_flag(name, hint, rest):
    """(text, remaining arguments) of `--name` without `=`: true for a bool, else the next one, also if negative."""
    if bool in members(hint):
        if rest and rest[0].lower() in ('true', 'false'):
            return rest[0], rest[1:]
        return 'true', rest
    if not rest or rest[0].startswith('--'):
        fail(f'command line: --{name} needs a value, {spell(hint)}')
    return rest[0], rest[1:]


def read_config(path, known):
    """Public names that the config file assigns. It sees the settings so far: an overlay can compute from them."""
    if not os.path.isfile(path):
        folder = os.path.dirname(path) or '.'
        there = sorted(f for f in os.listdir(folder) if f.endswith('.py')) if os.path.isdir(folder) else []
        near = difflib.get_close_matches(os.path.basename(path), there, n=1)
        fail(f'no config file {path!r}' + (f'; did you mean {os.path.join(folder, near[0])!r}?' if near else ''))
    before = {k: v for k, v in known.items() if not k.startswith('_')}
    try:
        after = runpy.run_path(path, init_globals=dict(before))
    except Exception as e:
        fail(f'{path}: {type(e).__name__}: {e}')
    return {k: v for k, v in after.items()
            if not k.startswith('_') and not isinstance(v, types.ModuleType) and not (k in before and before[k] is v)}


def check_name(name, fields, where):
    if name not in fields:
        near = difflib.get_close_matches(name, fields, n=1, cutoff=0.0)
        fail(f'{where}: unknown setting {name!r}; nearest known name: {near[0]!r}')


def members(hint):
    """The alternatives of a type: `int | None` -> (int, NoneType)."""
    return typing.get_args(hint) if typing.get_origin(hint) in (types.UnionType, typing.Union) else (hint,)


def spell(hint):
    return ' or '.join('None' if t is types.NoneType else str(t) if typing.get_args(t) else t.__name__
                       for t in members(hint))


def parse(text, hint, name):
    """Command-line text -> value of the setting's type; a list is written a,b,c or as a Python list."""
    kinds = members(hint)
    if text == 'None' and type(None) in kinds:
        return None
    if bool in kinds and text.lower() in ('true', 'false'):
        return text.lower() == 'true'
    lists = [k for k in kinds if typing.get_origin(k) is list]
    if lists and (str not in kinds or ',' in text):
        value = literal(text) if text.startswith('[') else text.split(',')
        if value and str not in typing.get_args(lists[0]):
            value = [literal(v) if isinstance(v, str) else v for v in value]
        return checked(value, hint, name, 'command line')
    if str in kinds:
        return text
    return checked(literal(text), hint, name, 'command line')


def literal(text):
    """The number or other Python literal that `text` spells, else the text itself (which then is of the wrong type)."""
    try:
        return ast.literal_eval(text.strip())
    except (SyntaxError, ValueError):
        return text


def checked(value, hint, name, where):
    """`value` if it is of the setting's type; an int passes for a float, and a whole float such as 1e8 for an int."""
    try:
        return fitted(value, hint)
    except TypeError:
        fail(f'{where}: {name!r} must be {spell(hint)}, not {value!r}')


def fitted(value, hint):
    for kind in members(hint):
        item = typing.get_args(kind)
        if item and isinstance(value, (list, tuple)):
            return [fitted(v, item[0]) for v in value]
        if item or (isinstance(value, bool) and kind is not bool):
            continue
        if isinstance(value, kind):
            return value
        if kind is float and isinstance(value, int):
            return float(value)
        if kind is int and isinstance(value, float) and value.is_integer():
            return int(value)
    raise TypeError


def help_text(cls):
    """The script's docstring and its settings block, with the comments, as they stand in the source."""
    doc = sys.modules[cls.__module__].__doc__ or ''
    source = inspect.getsource(cls)
    block = [line for line in source.splitlines() if re.match(r'\s+(\w+\s*:|#)', line)]
    return f'{doc.strip()}\n\nsettings (--name=value, defaults shown):\n' + '\n'.join(block)
