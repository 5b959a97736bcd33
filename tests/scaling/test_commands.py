"""scaling/commands.py: the command below a law's answer is the run that the answer describes."""
import csv
import json
import math
import re
import shlex
import sys

import pytest
from test_repeats import made_rows

import fit_scaling
from configurator import configure
from conftest import ROOT
from scaling import commands, repeats
from scaling.runs import read_table
from train import Settings
from training.plan import plan_run

VOCABULARY = 300
TOKENIZER, VAL_SET = f'bpe {VOCABULARY} 0123abcd', '20 tunes, 900 notes'


@pytest.fixture(autouse=True)
def known_speed(monkeypatch):
    """Steps of half a second, in the repository's root."""
    monkeypatch.setattr(commands, 'step_time', lambda *_: 0.5)
    monkeypatch.chdir(ROOT)


def write_table(path, rows):
    with open(path, 'w', newline='') as f:
        writer = csv.DictWriter(f, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)
    return str(path)


def run(monkeypatch, capsys, *flags):
    monkeypatch.setattr(sys, 'argv', ['fit_scaling.py', *flags])
    fit_scaling.main()
    return capsys.readouterr().out.splitlines()


def refused(monkeypatch, capsys, *flags):
    with pytest.raises(SystemExit) as end:
        run(monkeypatch, capsys, *flags)
    error = capsys.readouterr().err
    assert end.value.code == 2 and error.count('\n') == 1
    return error


def family(arch, widths=(32, 64, 128, 256), tokens=(4096, 40_960, 409_600)):
    """Runs of a family whose losses follow a law with its best tokens per parameter at 20."""
    rows = []
    for width in widths:
        counts = commands.counts_of(arch, width, VOCABULARY)
        for d in tokens:
            loss = 0.5 + 20 / counts['compute'] ** 0.3 + 20 * 20 ** 0.3 / d ** 0.3
            rows.append({'name': f'{width}-{d}', 'arch': arch, 'n_total': counts['total'], 'n_non_embedding': counts['non_embedding'],
                         'tokens': d, 'flops': 6 * counts['compute'] * d, 'loss': loss, 'epochs': 1, 'tokenizer': TOKENIZER})
    return rows


def commands_in(lines):
    """[(what the line above says of the run, its settings)] of each printed command."""
    found = []
    for above, line in zip(lines, lines[1:]):
        if line.strip().startswith('python train.py '):
            found.append((above, configure(Settings, shlex.split(line)[2:])))
    return found


def tokens_of(s, n_tokens):
    """Training tokens of a run with settings `s` on so many tokens of data."""
    plan = plan_run(s, {}, n_tokens)
    return plan.n_steps * plan.step_tokens


def stated(above):
    return int(re.search(r'([\d,]+) tokens', above)[1].replace(',', ''))


@pytest.mark.parametrize('arch', commands.DIALS)
@pytest.mark.parametrize('count', ['total', 'non_embedding', 'compute'])
def test_the_nearest_width_is_that_of_a_search_through_all(arch, count):
    widths = list(range(32, 225, 32))
    sizes = [commands.counts_of(arch, width, VOCABULARY)[count] for width in widths]
    for n in [sizes[0] / 3, *sizes, *((2 * a + b) / 3 for a, b in zip(sizes, sizes[1:]))]:
        best = min(zip(widths, sizes), key=lambda pair: max(pair[1] / n, n / pair[1]))[0]
        assert commands.nearest_width(arch, n, count, VOCABULARY) == best


@pytest.mark.parametrize('arch', commands.DIALS)
@pytest.mark.parametrize('far', [0.01, 1, 7])
def test_the_command_for_a_budget_spends_it(arch, far):
    """On the data of the longest run, if need be in more than one pass."""
    rows = family(arch)
    n = commands.counts_of(arch, 96, VOCABULARY)['compute'] * 1.1
    answer = {'arch': arch, 'size': 'compute', 'n': n, 'd': far * 409_600}
    (above, s), = commands_in(commands.of_budget(answer, rows, commands.data_of(rows)))
    assert getattr(s, commands.DIALS[arch][1]) == 96 and s.arch == arch
    assert stated(above) == tokens_of(s, 409_601) == s.max_tokens
    spent = s.max_tokens * commands.counts_of(arch, 96, VOCABULARY)['compute']
    assert spent == pytest.approx(n * answer['d'], abs=1024 * n * 1.1)
    assert s.epochs == math.ceil(s.max_tokens / 409_600)


def test_the_time_is_that_of_all_steps_and_grows_with_the_flops_of_models_too_wide_to_be_timed():
    options = commands.options_of('gpt', 64)
    above = commands.described(options, VOCABULARY, 120 * 2048)[0]
    assert 'about 1:00 on this machine, 0.5 s a step' in above
    wide, wider = (commands.step_seconds(commands.options_of('gpt', w), VOCABULARY, 2048) for w in (1024, 2048))
    flops = [commands.counts_of('gpt', w, VOCABULARY)['compute'] for w in (1024, 2048)]
    assert 0.5 < wide and wider / wide == pytest.approx(flops[1] / flops[0])


def test_fit_scaling_ends_its_answer_for_a_budget_in_a_command(tmp_path, monkeypatch, capsys):
    table = write_table(tmp_path / 'runs.csv', family('gpt'))
    monkeypatch.setattr(fit_scaling, 'write', lambda *_: None)
    lines = run(monkeypatch, capsys, f'--table={table}', '--flops=1e12', '--bootstraps=100')
    (above, s), = commands_in(lines)
    assert stated(above) == s.max_tokens
    spent = 6 * commands.counts_of('gpt', s.n_embd, VOCABULARY)['compute'] * s.max_tokens
    assert spent == pytest.approx(1e12, rel=0.02)


def test_runs_that_no_dial_gives_get_one_line_instead_of_a_command():
    rows = family('gpt')
    answer = {'arch': 'gpt', 'size': 'compute', 'n': 1e5, 'd': 1e6}
    other = [{**row, 'n_total': 1.2 * row['n_total']} for row in rows]
    unknown = [{key: value for key, value in row.items() if key != 'tokenizer'} for row in rows]
    two = [*rows, {**rows[0], 'tokenizer': 'bpe 301 0123abcd'}]
    for runs, changed, reason in [
            (other, {}, 'gives no model of the size of 32-4096'), (unknown, {}, 'tokenizer'), (two, {}, 'tokenizer'),
            (rows, {'arch': 'model'}, "'model'"), (rows, {'n': 1e30}, 'would need the width')]:
        line, = commands.of_budget({**answer, **changed}, runs, 1e6)
        assert 'no train.py command' in line and reason in line


@pytest.fixture(scope='module')
def repeated(tmp_path_factory):
    """A table of repeated data with the sizes of config/gpt.py, of TOKENIZER and VAL_SET."""
    counts = {n: commands.counts_of('gpt', width, VOCABULARY) for n, width in ((2.5e4, 32), (1e5, 64), (4e5, 128))}
    rows = []
    for row in made_rows(noise=0.01):
        of_size = counts[row['n_non_embedding']]
        rows.append({**row, 'arch': 'gpt', 'n_total': of_size['total'], 'n_non_embedding': of_size['non_embedding'],
                     'loss': row['loss_per_note'],
                     'tokenizer': TOKENIZER, 'val_set': VAL_SET})
    return write_table(tmp_path_factory.mktemp('repeats') / 'repeats.csv', rows)


@pytest.fixture(scope='module')
def law(repeated):
    return repeats.fit(read_table(repeated), 2)


def test_the_commands_for_tunes_make_the_passes_that_the_page_gives(repeated, law, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(repeats, 'fit', lambda *_: law)
    lines = run(monkeypatch, capsys, f'--table={repeated}', '--tunes=500,30000', f'--out_dir={tmp_path}')
    rows = [[cell.strip() for cell in line.split('|')] for line in lines if re.match(r'\| (500|30,000) \|', line)]
    found = commands_in(lines)
    assert len(found) == len(rows) == 4
    for (_, tunes, tokens, copies, n, passes, *_), (above, s) in zip(rows, found):
        train_tokens = int(tokens.replace(',', '')) * (1 + int(copies))
        assert stated(above) == tokens_of(s, train_tokens) == s.max_tokens
        assert s.max_tokens / train_tokens == pytest.approx(float(passes.split()[0]), abs=0.06)
        assert n == f'{commands.counts_of("gpt", s.n_embd, VOCABULARY)["non_embedding"]:,}'
        assert (s.batch_size, s.dropout) == commands.recipe_of_passes(float(passes.split()[0]), train_tokens, int(copies))
    assert (tmp_path / 'repeats.md').read_text().count('python train.py') == 4


def test_fewer_data_than_a_step_get_no_command():
    line, = commands.of_passes('gpt', 1e5, passes=4, train_tokens=300, copies=5, vocab_size=VOCABULARY)
    assert 'no train.py command' in line


def folder(path, vocab_size=VOCABULARY, hash='0123abcd99', tunes=20):
    path.mkdir()
    train = {'tunes': 1200, 'tokens': 120_000, 'notes': 80_000, 'characters': 300_000}
    val = {'tunes': tunes, 'tokens': 1500, 'notes': 900, 'characters': 4000}
    (path / 'meta.json').write_text(json.dumps({
        'vocab_size': vocab_size, 'tokenizer': {'kind': 'bpe', 'hash': hash}, 'untransposed': 40_000,
        'splits': {'train': train, 'val': val}}))
    return path


@pytest.mark.parametrize('change', [{}, {'vocab_size': 500}, {'hash': 'ffff0123'}, {'tunes': 21}])
def test_a_folder_gets_size_and_passes_and_a_loss_only_if_it_has_the_music_of_the_table(change, repeated, law, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(repeats, 'fit', lambda *_: law)
    monkeypatch.setattr(repeats, 'draw', lambda *_: None)
    monkeypatch.setattr(fit_scaling, 'write', lambda *_: None)
    data = folder(tmp_path / 'my tunes', **change)
    lines = run(monkeypatch, capsys, f'--table={repeated}', f'--data_dir={data}', f'--out_dir={tmp_path}')
    (above, s), = commands_in(lines)
    answer = lines[lines.index(above) - 1]
    assert '40,000 tokens, 2.0 transposed copies' in answer and ', passes ' in answer
    assert (', loss ' in answer) == (not change) and ('; no loss, as' in answer) == bool(change)
    assert s.data_dir == str(data) and stated(above) == tokens_of(s, 120_000) == s.max_tokens


def test_what_cannot_be_answered_for_a_folder_is_one_line(repeated, tmp_path, monkeypatch, capsys):
    data = folder(tmp_path / 'data')
    both = refused(monkeypatch, capsys, f'--table={repeated}', '--tunes=300', f'--data_dir={data}')
    assert "'tunes' or 'data_dir'" in both
    assert 'no prepared data' in refused(monkeypatch, capsys, f'--table={repeated}', f'--data_dir={tmp_path}/none')
    table = write_table(tmp_path / 'runs.csv', family('gpt'))
    assert "'data_dir' needs a table" in refused(monkeypatch, capsys, f'--table={table}', f'--data_dir={data}')


def test_transposed_copies_count_as_passes_where_dropout_is_chosen():
    recipes = [commands.recipe_of_passes(passes, 5e6, copies)[1] for passes, copies in ((2, 0), (3, 0), (0.3, 5), (1, 5))]
    assert recipes == [0, commands.DROPOUT, 0, commands.DROPOUT]
