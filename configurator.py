"""Settings of a script: a dataclass of defaults < config files < --key=value, in any order.

    @dataclass
    class Settings:
        batch_size: int = 64          # sequences per optimiser step
        out_midi: bool = False        # also write MIDI

    settings = configure(Settings)    # reads sys.argv

`python train.py config/gpt.py --n_embd=256` runs the config file, then applies the flags. A config
file is plain Python: it may compute and import, and names that begin with `_` are its own. While it
runs, a name that is a flag keeps the flag's value. So a file with `n_embd = 64` and
`n_head = n_embd / 32` describes a family of sizes, and --n_embd is its dial; if it sets `_size`,
the run's name has that (gpt-256). A bare `--flag` is true. A mistake ends in one line on stderr and
exit status 2; `--help` prints the settings block.

    python configurator.py config/gpt.py --n_embd=256     # prints what the file and the flags set
"""
import ast
import dataclasses
import difflib
import inspect
import os
import re
import sys
import time
import types
import typing


def fail(message, status=2, of_this_rank=False):
    """End the program for a mistake of the user: one line on stderr, exit status 2.

    Under torchrun a mistake that all ranks find is printed once a node, by its first rank;
    one that only this rank finds (`of_this_rank`) is printed by it.
    """
    if of_this_rank or os.environ.get('LOCAL_RANK', '0') == '0':
        print(f'error: {message}', file=sys.stderr, flush=True)
    else:
        time.sleep(2)       # torchrun ends all ranks when one exits: the one that prints goes first
    sys.exit(status)


def one_line(kind, error, trace):
    """sys.excepthook of all scripts: one line for Ctrl-C, the usual traceback for a bug."""
    if issubclass(kind, KeyboardInterrupt):
        print('stopped', file=sys.stderr)
    else:
        sys.__excepthook__(kind, error, trace)


def configure(cls, argv=None):
    """Instance of the dataclass `cls` with config files and flags applied; exits (2) on a mistake.

    Positional arguments that end in .py are config files, read left to right; others go into the
    field `paths`, if `cls` has one. The instance also gets `run_name`: the names of its configs,
    joined by '-', each with its size if it is a family ('gpt-256-original'; '' without a config).
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    hints = typing.get_type_hints(cls)
    fields = {f.name: hints[f.name] for f in dataclasses.fields(cls)}
    if '--help' in argv or '-h' in argv:
        print(help_text(cls))
        sys.exit(0)
    sys.excepthook = one_line

    # Sort the arguments. Flags are checked first: config files see their values.
    config_files, paths, flags = [], [], {}
    while argv:
        arg, argv = argv[0], argv[1:]
        if arg.startswith('--'):
            name, equals, text = arg[2:].partition('=')
            check_name(name, fields, 'command line')
            if not equals:
                text, argv = value_of_bare_flag(name, fields[name], argv)
            flags[name] = parse(text, fields[name], name)
        elif arg.startswith('-') and len(arg) > 1:
            fail(f'command line: {arg!r} is no setting; '
                 'settings are written --name=value (see --help)')
        elif arg.endswith('.py'):
            config_files.append(arg)
        elif 'paths' in fields:
            paths.append(arg)
        else:
            fail(f'command line: {arg!r} is neither a config file (.py) '
                 'nor a setting (--name=value)')

    # Defaults < config files < flags.
    settings, names = cls(), []
    for path in config_files:
        assigned = read_config(path, vars(settings), flags)
        names.append(run_name(path, assigned))
        for name, value in assigned.items():
            if is_setting(name, value, fields):
                check_name(name, fields, path)
                setattr(settings, name, checked(value, fields[name], name, path))
    for name, value in flags.items():
        setattr(settings, name, value)
    if paths:
        settings.paths = paths
    settings.run_name = '-'.join(names)
    if (getattr(settings, 'seed', 0) or 0) < 0:
        fail(f"'seed' must be at least 0, not {settings.seed}")
    return settings


def value_of_bare_flag(name, hint, rest):
    """(text, remaining arguments) of `--name` without `=`.

    The text of a bool is 'true' unless true or false follows; that of others is the next argument,
    which may be a negative number.
    """
    if bool in members(hint):
        if rest and rest[0].lower() in ('true', 'false'):
            return rest[0], rest[1:]
        return 'true', rest
    if not rest or rest[0].startswith('--'):
        fail(f'command line: --{name} needs a value, {spell(hint)}')
    return rest[0], rest[1:]


class Assignments(dict):
    """What a config file assigns: its local names.

    An assignment to one of `flags` has no effect, so that what the file computes from that name
    sees the command line. The others also go to `visible`, where functions of the file look.
    """

    def __init__(self, flags, visible):
        super().__init__()
        self.flags, self.visible = flags, visible

    def __setitem__(self, name, value):
        if name not in self.flags:
            super().__setitem__(name, value)
            self.visible[name] = value


def read_config(path, known, flags=None):
    """Run a config file: {name: value} of all that it assigns, without the names in `flags`.

    The file sees `flags` and `known`, the settings so far: an overlay can compute from them.
    """
    if not os.path.isfile(path):
        folder = os.path.dirname(path) or '.'
        there = os.listdir(folder) if os.path.isdir(folder) else []
        configs = sorted(name for name in there if name.endswith('.py'))
        near = difflib.get_close_matches(os.path.basename(path), configs, n=1)
        hint = f'; did you mean {os.path.join(folder, near[0])!r}?' if near else ''
        fail(f'no config file {path!r}{hint}')
    flags = flags or {}
    visible = {**known, **flags, '__name__': 'config', '__file__': path}
    assigned = Assignments(flags, visible)
    try:
        with open(path, 'rb') as f:
            exec(compile(f.read(), path, 'exec'), visible, assigned)
    except Exception as e:
        fail(f'{path}: {type(e).__name__}: {e}')
    return dict(assigned)


def is_setting(name, value, fields):
    """Whether an assignment is a setting, not a `_name`, an import, a function or a class."""
    helper = isinstance(value, types.ModuleType) or callable(value)
    return name in fields or not (name.startswith('_') or helper)


def run_name(path, assigned):
    """The config's part of a run's name: the file's name, and the size if the file sets `_size`."""
    stem = os.path.splitext(os.path.basename(path))[0]
    return f"{stem}-{assigned['_size']}" if '_size' in assigned else stem


def check_name(name, fields, where):
    if name not in fields:
        near = difflib.get_close_matches(name, fields, n=1, cutoff=0.0)
        fail(f'{where}: unknown setting {name!r}; nearest known name: {near[0]!r}')


def members(hint):
    """The alternatives of a type: `int | None` -> (int, NoneType)."""
    is_union = typing.get_origin(hint) in (types.UnionType, typing.Union)
    return typing.get_args(hint) if is_union else (hint,)


def spell(hint):
    """A type as an error message writes it: 'int or None', 'list[int]'."""
    words = []
    for kind in members(hint):
        if kind is types.NoneType:
            words.append('None')
        else:
            words.append(str(kind) if typing.get_args(kind) else kind.__name__)
    return ' or '.join(words)


def parse(text, hint, name):
    """Command-line text -> value of the setting's type.

    A list is written a,b,c or as a Python list; for `str | list` a text without a comma stays one.
    """
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
    """The number or other Python literal that `text` spells, else the text itself."""
    try:
        return ast.literal_eval(text.strip())
    except (SyntaxError, ValueError):
        return text


def checked(value, hint, name, where):
    """`value` as the setting's type; exits (2) if it is of another. See `converted`."""
    try:
        return converted(value, hint)
    except TypeError:
        fail(f'{where}: {name!r} must be {spell(hint)}, not {value!r}')


def converted(value, hint):
    """`value` as type `hint`; TypeError if it is none.

    An int passes for a float, a whole float such as 1e8 for an int, a tuple for a list.
    """
    for kind in members(hint):
        item = typing.get_args(kind)
        if item and isinstance(value, (list, tuple)):
            return [converted(v, item[0]) for v in value]
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
    """The script's docstring and its settings block with the comments, both from its source."""
    doc = sys.modules[cls.__module__].__doc__ or ''
    source = inspect.getsource(cls)
    block = [line for line in source.splitlines() if re.match(r'\s+(\w+\s*:|#)', line)]
    return f'{doc.strip()}\n\nsettings (--name=value, defaults shown):\n' + '\n'.join(block)


def main():
    """Print what the config files and flags of the command line set, one `name = value` a line.

    Without a dataclass there are no types and no defaults: enough to see whether a run's settings
    have changed, and quick.
    """
    flags, settings = {}, {}
    for arg in sys.argv[1:]:
        if arg.startswith('--'):
            name, _, text = arg[2:].partition('=')
            flags[name] = literal(text)
    for path in sys.argv[1:]:
        if not path.startswith('--'):
            for name, value in read_config(path, settings, flags).items():
                if is_setting(name, value, ()):
                    settings[name] = value
    for name, value in sorted({**settings, **flags}.items()):
        print(f'{name} = {value!r}')


if __name__ == '__main__':
    main()
