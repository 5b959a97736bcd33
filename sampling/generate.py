"""Generation: many tunes at a time from a model with a cache, with or without the constraint.

    tunes = [Tune(tokenizer, seed=(1, i), reader=Reader()) for i in range(10)]
    counts = generate(model, tokenizer, tunes, top_p=0.9)
    tunes[0].text

Each row of the cache holds one tune. One forward pass fills it with all that the tune has so far
(prefill); then it grows by one token per step with all the others (decode). A tune that ends leaves
its row to the next one. When a context is full, its row is filled again with the tune's header and
latest whole bars. What a row holds depends on no other.

The constraint rejects tokens one by one. To take whatever it lets through would bend the model's
distribution towards what is merely possible; to sample a bar again at the first rejection would be
exact for that bar (rejection sampling) and slow. In between: after REJECTIONS of one draw
(draw.py), the bar of that voice is sampled again. Where that does not help, the tune goes back by a
bar, then by two, and at last it ends (rollback.py): what the model does not hold likely is not
written.
"""
from typing import NamedTuple

import torch

from sampling.draw import Options, draw

MAX_RESTARTS = 20           # of the bar of one voice; then whole bars are dropped


def append(model, ids, cache):
    """Append ids, a list of T for each row, to what the rows hold; logits (B, V) of what comes
    next."""
    idx_BT = torch.tensor(ids, device=model.head.weight.device)
    # For a few tokens oneDNN's set-up takes longer than the work: for one in an LSTM of width 512
    # five times as long.
    with torch.backends.mkldnn.flags(enabled=idx_BT.shape[1] > 16, allow_tf32=None):
        return model(idx_BT, cache=cache)[0][:, 0]


def row_of(cache, name, r):
    """View of row r in the cache's tensor `name`: positions are (B,), others (n_layer, B, ...)."""
    return cache[name].select(0 if name == 'pos' else 1, r)


class Saved(NamedTuple):
    """What brings a row back to its tune's mark."""
    logits_V: torch.Tensor
    state: dict             # of the cache: a GPT's row is cut at its position, an LSTM's is copied
    n_context: int


class Rows:
    """Tunes side by side, each with a row of the model's cache and of the logits (B, V) of what
    comes next."""

    def __init__(self, model, tunes):
        self.model, self.tunes, self.cache = model, tunes, model.init_cache(len(tunes))
        device = model.head.weight.device
        self.logits_BV = torch.zeros(len(tunes), model.config.vocab_size, device=device)
        self.n_context = [0] * len(tunes)       # ids that each row holds; 0: it has to be filled
        self.saved = [None] * len(tunes)        # None: filled since its tune's mark

    def fill(self, r):
        """One forward pass over all that the tune has so far."""
        own = self.model.init_cache(1)
        ids = self.tunes[r].context(self.model.config.block_size)
        self.logits_BV[r] = append(self.model, [ids], own)[0]
        for name in own:
            row_of(self.cache, name, r).copy_(row_of(own, name, 0))
        self.n_context[r], self.saved[r] = len(ids), None

    def save(self, r):
        names = ['pos'] if 'pos' in self.cache else self.cache
        state = {name: row_of(self.cache, name, r).clone() for name in names}
        self.saved[r] = Saved(self.logits_BV[r].clone(), state, self.n_context[r])

    def restore(self, r):
        """Back to the tune's mark."""
        if self.saved[r] is None:
            return self.fill(r)
        self.logits_BV[r], state, self.n_context[r] = self.saved[r]
        for name, value in state.items():
            row_of(self.cache, name, r).copy_(value)

    def replace(self, tunes):
        """Go on with `tunes`, one for each row, None where the row is given up."""
        for r, tune in enumerate(tunes):
            if tune is not self.tunes[r]:
                self.n_context[r] = 0
        self.tunes = tunes
        kept = [r for r, tune in enumerate(tunes) if tune is not None]
        if len(kept) == len(tunes):
            return
        for name in ('tunes', 'n_context', 'saved'):
            values = getattr(self, name)
            setattr(self, name, [values[r] for r in kept])
        index = torch.tensor(kept, device=self.logits_BV.device, dtype=torch.long)
        self.cache = {name: x.index_select(0 if name == 'pos' else 1, index)
                      for name, x in self.cache.items()}
        self.logits_BV = self.logits_BV[index]

    def grow(self):
        """Append each tune's latest token to its row. New rows and full ones are filled next; what
        they are given here is lost."""
        for r in range(len(self.tunes)):
            if self.n_context[r] >= self.model.config.block_size:
                self.n_context[r] = 0
            if self.n_context[r] == 0 and 'pos' in self.cache:
                self.cache['pos'][r] = 0                    # where there is room
        if any(self.n_context):
            latest = [tune.ids[-1:] for tune in self.tunes]
            self.logits_BV = append(self.model, latest, self.cache)
        self.n_context = [n + 1 if n else 0 for n in self.n_context]


@torch.inference_mode()
def generate(model, tokenizer, tunes, batch_size=32, max_tokens=2000, max_bars=64, temperature=1.0,
             top_p=1.0, top_k=None):
    """Grow every tune until it ends, or has `max_bars` bars or `max_tokens` tokens more than its
    prompt.

    Returns counts: 'tokens' kept, 'dropped' to sample a bar again, candidates 'tried' and 'refused'
    by the constraint, tunes 'cut' by it, unlikely tokens 'forced' by what is asked for or given."""
    options = Options(temperature, top_p, top_k)
    if not options.is_greedy:                       # else the same would be drawn again
        options.max_restarts = MAX_RESTARTS
    counts = dict.fromkeys(('tokens', 'dropped', 'tried', 'refused', 'forced', 'cut'), 0)

    def is_done(tune):
        return (tune.ended or tune.stuck or len(tune.bar_ends) - tune.n_prompt_bars >= max_bars
                or len(tune.ids) - tune.n_prompt_ids >= max_tokens)

    waiting = [tune for tune in reversed(tunes) if not is_done(tune)]
    rows = Rows(model, [waiting.pop() for _ in range(min(batch_size, len(waiting)))])
    while rows.tunes:
        # Rows without content are filled; where a line or a voice's bar begins, a tune can come
        # back.
        for r, tune in enumerate(rows.tunes):
            if rows.n_context[r] == 0:
                rows.fill(r)
            if tune.is_constrained and tune.rollback.is_at_mark():
                tune.rollback.mark()
                rows.save(r)

        # A token for each tune, but for those whose next one is given. Where nothing likely is
        # allowed, the tune goes back to its mark and draws there again.
        drawing = [r for r, tune in enumerate(rows.tunes) if not tune.given]
        drawn = draw_rows(rows, drawing, options, counts)
        restarting = [r for r in drawing if drawn[r][0] is None
                      and rows.tunes[r].rollback.can_restart(options.max_restarts)]
        for r in restarting:
            counts['dropped'] += rows.tunes[r].rollback.restart()
            rows.restore(r)
        drawn.update(draw_rows(rows, restarting, options, counts))

        for r, tune in enumerate(rows.tunes):
            if r not in drawn:
                tune.append(tune.given.pop(0))
                counts['tokens'] += 1
                continue
            step, is_likely = drawn[r]
            if step is None and tune.rollback.can_drop_bars(options.max_restarts):
                counts['dropped'] += tune.rollback.drop_bars()
                counts['cut'] += 1 if tune.stuck else 0
                rows.n_context[r] = 0
            elif step is None:
                tune.stuck = True
            elif step.ids == [tokenizer.tune]:
                tune.ended = True
            else:
                tune.take(step)
                counts['tokens'] += 1
                counts['forced'] += 0 if is_likely else 1

        # A finished tune gives its row to a waiting one, or gives it up.
        following = []
        for tune in rows.tunes:
            if is_done(tune):
                tune = waiting.pop() if waiting else None
            following.append(tune)
        rows.replace(following)
        rows.grow()
    counts['tokens'] -= counts['dropped']
    return counts


def draw_rows(rows, indices, options, counts):
    """{r: (Step or None, is it likely?)} of the tunes in some rows."""
    if not indices:
        return {}
    tunes = [rows.tunes[r] for r in indices]
    return dict(zip(indices, draw(rows.logits_BV[indices], tunes, options, counts)))
