"""Generation: many tunes at a time from a model with a cache, with or without the constraint.

    tunes = [Tune(tokenizer, seed=(1, i), reader=Reader()) for i in range(10)]
    counts = generate(model, tokenizer, tunes, top_p=0.9)
    tunes[0].text

Each row of the cache holds one tune. One forward pass fills it with all that the tune has so far (prefill); then it
grows by a token a step with all the others (decode). A tune that ends leaves its row to the next one. When a context is
full, its row is filled again with the tune's header and latest whole bars. What a row holds depends on no other.

The constraint refuses tokens one by one. To take whatever it lets through would bend the model's distribution towards
what is merely possible; to begin a bar anew at the first refusal would be exact for that bar (rejection sampling) and
slow. In between: after REFUSALS of one draw, the bar of that voice is begun anew. Where that does not help, the tune
goes back by a bar, then by two, and at last it ends: what the model does not hold likely is not written.
"""
from functools import cache

import numpy as np
import torch

from music.repeats import MARKS, PHRASE_END

KEPT_SHARE = 0.6            # of the context that header and latest bars may fill when it has run full
FEW = 128                   # tokens among which the likely ones are sought first
REFUSALS = 5                # of one draw, after which the bar of the voice is begun anew
RETRIES = 20                # times that this is done; then whole bars are given up
SHORTENINGS = 2             # times that this is done at one place; then the tune ends there


class Tune:
    """A tune as it grows. `seed`: tuple of ints, all that its randomness depends on. `key` stands in its header, and is
    no draw of the model; None: whatever comes. A tune with a prompt has a key."""
    may_shorten = True          # give up bars where the constraint leaves nothing likely

    def __init__(self, tokenizer, seed, reader=None, prompt='', key=None):
        self.tokens = tokenizer.tokens
        state, = np.random.SeedSequence(seed).generate_state(1, np.uint64)
        self.generator = torch.Generator().manual_seed(int(state >> 1))
        self.reader = reader and reader.feed(prompt).on_grid()      # None: no constraint. A prompt may be off the grid
        self.ids, self.text = [tokenizer.tune], ''
        self.header_end = 1                                 # number of ids before the first bar
        self.bar_ends = []                                  # number of ids up to the end of each bar
        self.n_context = 0                                  # ids that its row holds; 0: the row has to be filled
        self.ended = self.stuck = False                     # by <|tune|>; because the constraint let no token through
        self.saved = None                                   # (logits (V,), state of the row) at the mark
        self.given, self.free_from = [], 0                  # ids that come next, not drawn; len(ids) behind the last
        self.key_line = None
        for i in tokenizer.encode(prompt):
            self.add(i, self.reader)
        self.n_prompt_bars = len(self.bar_ends)
        self.is_asked = bool(prompt or reader and any(reader.asked.values()))           # for something in particular
        self.key_line = (f'K:{key}\n', tokenizer.encode(f'K:{key}\n')) if key and not prompt else None
        self.start = len(self.ids), len(self.text), self.reader
        self.furthest = self.shortened = 0                  # bars where it was shortened last, and how often there
        self.mark()

    def add(self, i, reader):
        self.text += self.tokens[i]
        self.ids.append(i)
        self.reader = reader
        if self.tokens[i].endswith('\n'):
            line = self.text[self.text.rfind('\n', 0, -1) + 1:-1]
            if not self.bar_ends and line[:1] not in ('[', 'Z', '|'):
                self.header_end = len(self.ids)
            elif line not in MARKS:
                self.bar_ends.append(len(self.ids))
            if line[:2] == 'Q:' and self.key_line:          # the key is next
                text, ids = self.key_line
                self.give(ids, self.reader and self.reader.feed(text))

    def give(self, ids, reader):
        """`ids` come next; `reader`: the one after them."""
        self.given, self.reader, self.free_from = list(ids), reader, len(self.ids) + len(ids)

    def mark(self):
        """A line or the bar of a voice begins here: the place to come back to."""
        self.marked, self.retries = (len(self.ids), len(self.text), self.reader, self.n_context), 0

    def at_mark(self):
        return not self.given and (
            len(self.ids) in (self.marked[0], self.free_from) or self.text.endswith(('|', '\n')))

    def can_go_back(self, retries):
        return self.retries < retries and len(self.ids) > self.marked[0]

    def go_back(self):
        """Returns how many tokens were dropped."""
        n_dropped = len(self.ids) - self.marked[0]
        n_ids, n_text, self.reader, self.n_context = self.marked
        self.ids, self.text = self.ids[:n_ids], self.text[:n_text]
        self.retries += 1
        return n_dropped

    def can_shorten(self, retries):
        whole = len(self.bar_ends) > self.n_prompt_bars or not self.is_asked and len(self.ids) > self.start[0]
        return self.may_shorten and retries > 0 and whole

    def shorten(self):
        """Give up the latest bar and what is begun; if that was in vain, two; then end. Number of ids dropped."""
        n_bars = len(self.bar_ends)
        self.shortened = 1 + self.shortened * (n_bars <= self.furthest)
        self.furthest = max(n_bars, self.furthest)
        self.stuck = self.shortened > SHORTENINGS           # at the end of its latest bar
        n_kept = max(self.n_prompt_bars, n_bars - self.shortened * (not self.stuck))
        return self.cut(self.bar_ends[n_kept - 1] if n_kept > self.n_prompt_bars else self.start[0])

    def cut(self, n_ids):
        """Back to the first n_ids, at the end of a bar or at the start. Number of ids dropped."""
        n_dropped, (n_start, n_text, reader) = len(self.ids) - n_ids, self.start
        written = ''.join(self.tokens[i] for i in self.ids[n_start:n_ids])
        self.ids, self.text = self.ids[:n_ids], self.text[:n_text] + written
        self.bar_ends = [n for n in self.bar_ends if n <= n_ids]
        self.reader, self.n_context = reader and reader.feed(written), 0
        self.mark()
        return n_dropped

    def context(self, block_size):
        """Ids to fill a row with: all, or once they fill the context the header and the most recent whole bars."""
        if len(self.ids) < block_size:
            return list(self.ids)
        header = self.ids[:self.header_end] if self.header_end < 3 * block_size // 8 else []
        room = int(KEPT_SHARE * block_size) - len(header)
        whole = [n for n in (self.header_end, *self.bar_ends) if 0 < len(self.ids) - n <= room]
        return header + self.ids[whole[0] if whole else -room:]


def append(model, ids, cache):
    """Append ids, a list of T for each row, to what the rows hold; logits (B, V) of what comes next."""
    idx_BT = torch.tensor(ids, device=model.head.weight.device)
    # For a few tokens oneDNN's set-up takes longer than the work: for one in an LSTM of width 512 five times as long.
    with torch.backends.mkldnn.flags(enabled=idx_BT.shape[1] > 16, allow_tf32=None):
        return model(idx_BT, cache=cache)[0][:, 0]


def row_of(cache, name, r):
    """View of row r in the cache's tensor `name`: positions are (B,), all others (n_layer, B, ...)."""
    return cache[name].select(0 if name == 'pos' else 1, r)


class Rows:
    """Tunes side by side, each with a row of the model's cache and of the logits (B, V) of what comes next."""

    def __init__(self, model, tunes):
        self.model, self.tunes, self.cache = model, tunes, model.init_cache(len(tunes))
        self.logits_BV = torch.zeros(len(tunes), model.config.vocab_size, device=model.head.weight.device)

    def fill(self, r):
        """One forward pass over all that the tune has so far."""
        tune, own = self.tunes[r], self.model.init_cache(1)
        ids = tune.context(self.model.config.block_size)
        self.logits_BV[r] = append(self.model, [ids], own)[0]
        for name in own:
            row_of(self.cache, name, r).copy_(row_of(own, name, 0))
        tune.n_context, tune.saved = len(ids), None

    def save(self, r):
        """Keep what brings row r back to where it is: a GPT's row is cut at its position, an LSTM's state is copied."""
        names = ['pos'] if 'pos' in self.cache else self.cache
        self.tunes[r].saved = self.logits_BV[r].clone(), {name: row_of(self.cache, name, r).clone() for name in names}

    def restore(self, r):
        if self.tunes[r].saved is None:                     # it has been filled since
            return self.fill(r)
        self.logits_BV[r], state = self.tunes[r].saved
        for name, value in state.items():
            row_of(self.cache, name, r).copy_(value)

    def replace(self, tunes):
        """Go on with `tunes`, one for each row, None where the row is given up."""
        self.tunes = [tune for tune in tunes if tune]
        if len(self.tunes) < len(tunes):
            kept = [r for r, tune in enumerate(tunes) if tune]
            index = torch.tensor(kept, device=self.logits_BV.device, dtype=torch.long)
            self.cache = {name: x.index_select(0 if name == 'pos' else 1, index) for name, x in self.cache.items()}
            self.logits_BV = self.logits_BV[index]

    def grow(self):
        """Append each tune's latest token to its row, but for new rows and full ones: these are filled next."""
        for r, tune in enumerate(self.tunes):
            if tune.n_context >= self.model.config.block_size:
                tune.n_context = 0
            if tune.n_context == 0 and 'pos' in self.cache:
                self.cache['pos'][r] = 0                    # room for the token that it is given nevertheless
        if any(tune.n_context for tune in self.tunes):
            self.logits_BV = append(self.model, [tune.ids[-1:] for tune in self.tunes], self.cache)
            for tune in self.tunes:
                tune.n_context += tune.n_context > 0


@torch.inference_mode()
def generate(model, tokenizer, tunes, batch_size=32, max_tokens=2000, max_bars=64, temperature=1.0, top_p=1.0,
             top_k=None):
    """Grow every tune until it ends. Returns counts: 'tokens' kept, 'dropped' with what was begun anew, candidates
    'tried' and 'refused' by the constraint, tunes 'cut' by it, unlikely tokens 'forced' by what is asked for or given.
    """
    retries = RETRIES if temperature > 0 and top_k != 1 else 0      # else the same would be drawn again
    counts = dict.fromkeys(('tokens', 'dropped', 'tried', 'refused', 'forced', 'cut'), 0)

    def done(tune):
        return tune.ended or tune.stuck or len(tune.bar_ends) >= max_bars or len(tune.ids) - 1 >= max_tokens

    options = tokenizer, temperature, top_p, top_k, retries, counts
    waiting = [tune for tune in reversed(tunes) if not done(tune)]
    rows = Rows(model, [waiting.pop() for _ in range(min(batch_size, len(waiting)))])
    while rows.tunes:
        for r, tune in enumerate(rows.tunes):
            if tune.n_context == 0:
                rows.fill(r)
            if tune.reader and tune.at_mark():
                tune.mark()
                rows.save(r)

        free = [r for r, tune in enumerate(rows.tunes) if not tune.given]
        drawn = dict(zip(free, draw(rows.logits_BV[free], [rows.tunes[r] for r in free], *options)))
        anew = [r for r in free if drawn[r][0] is None and rows.tunes[r].can_go_back(retries)]
        for r in anew:
            counts['dropped'] += rows.tunes[r].go_back()
            rows.restore(r)
        if anew:
            drawn |= zip(anew, draw(rows.logits_BV[anew], [rows.tunes[r] for r in anew], *options))
        for r, tune in enumerate(rows.tunes):
            if r not in drawn:
                tune.add(tune.given.pop(0), tune.reader)
                counts['tokens'] += 1
                continue
            token, reader, likely = drawn[r]
            if token is None and tune.can_shorten(retries):
                counts['dropped'] += tune.shorten()
                counts['cut'] += tune.stuck
            elif token is None:
                tune.stuck = True
            elif token == tokenizer.tune:
                tune.ended = True
            else:
                tune.add(token, reader)
                counts['tokens'] += 1
                counts['forced'] += not likely

        # A finished tune gives its row to a waiting one, or gives it up.
        rows.replace([tune if not done(tune) else waiting.pop() if waiting else None for tune in rows.tunes])
        rows.grow()
    counts['tokens'] -= counts['dropped']
    return counts


def draw(logits_BV, tunes, tokenizer, temperature, top_p, top_k, retries, counts):
    """For each tune (next token or None if the constraint lets none pass, reader after it, is it likely?).

    Tokens race: each arrives after an exponential time of rate p. So the first that passes is a draw from the allowed
    tokens with their probabilities in proportion. In a bar that can be begun anew at most REFUSALS are tried. At its
    start, or after `retries` new beginnings, all the likely ones are. Where there is no bar to give up, in a header
    that is asked for or between given cells, the others follow, outside of top_k and top_p.
    """
    logits_BV = logits_BV.float().cpu()
    if temperature > 0:
        logits_BV = logits_BV / temperature if temperature != 1 else logits_BV
        candidates = race(logits_BV, tunes, top_p, top_k)
    else:
        candidates = logits_BV.topk(min(FEW, logits_BV.shape[1])).indices.tolist()
    drawn = []
    for logits_V, tune, ids in zip(logits_BV, tunes, candidates):
        can_go_back = tune.can_go_back(retries)
        token, reader = first_allowed(tune, ids[:REFUSALS] if can_go_back else ids, tokenizer, counts)
        likely = token is not None
        if not (likely or can_go_back or tune.can_shorten(retries)):
            noise_V = torch.ones_like(logits_V).exponential_(generator=tune.generator)
            order = logits_V - noise_V.log() if temperature > 0 and top_k != 1 else logits_V    # the same race in logs
            tried = set(ids)
            others = [i for i in order.argsort(descending=True).tolist() if i not in tried]
            token, reader = first_allowed(tune, others, tokenizer, counts)
        drawn.append((token, reader, likely))
    return drawn


def race(logits_BV, tunes, top_p, top_k, n=FEW):
    """For each row the likely tokens in the order in which the race ends.

    Likely are the top k, and of these the most likely ones that hold the share top_p. They are sought among the n most
    likely, which is faster; rows where these hold too little race again, among eight times as many.
    """
    V = logits_BV.shape[1]
    k = min(top_k or V, V)
    n = k if k < V else min(n, V) if top_p < 1 else V
    p_BN, wide = logits_BV.softmax(dim=1), [False] * len(tunes)
    if n < V or top_p < 1:
        p_BN, ids_BN = most_likely(p_BN, n)
        p_BN = p_BN / p_BN.sum(dim=1, keepdim=True) if k < V else p_BN
    else:
        ids_BN = torch.arange(V).expand_as(p_BN)
    if top_p < 1:
        share_BN = p_BN.cumsum(dim=1)
        p_BN = p_BN.masked_fill(share_BN - p_BN >= top_p, 0)
        wide = [n < k and share < top_p for share in share_BN[:, -1].tolist()]
    noise_BN = torch.ones_like(p_BN)
    for noise_N, tune, is_wide in zip(noise_BN.unbind(), tunes, wide):
        if not is_wide:
            noise_N.exponential_(generator=tune.generator)
    score_BN = p_BN / noise_BN
    places_BN, n_likely = score_BN.argsort(dim=1, descending=True), (score_BN > 0).sum(dim=1).tolist()
    order = [ids[:m] for ids, m in zip(ids_BN.gather(1, places_BN).tolist(), n_likely)]
    rows = [row for row, is_wide in enumerate(wide) if is_wide]
    if rows:
        for row, ids in zip(rows, race(logits_BV[rows], [tunes[row] for row in rows], top_p, top_k, 8 * n)):
            order[row] = ids
    return order


def most_likely(p_BV, n):
    """(p, ids) of each row's n most likely tokens, in falling order. For few of many, topk takes twice the time."""
    V = p_BV.shape[1]
    ids_BN = torch.arange(V).expand_as(p_BV)
    if n < V:
        ids_BN = torch.from_numpy(np.argpartition(p_BV.numpy(), V - n)[:, V - n:])
    p_BN, places_BN = p_BV.gather(1, ids_BN).sort(dim=1, descending=True)
    return p_BN, ids_BN.gather(1, places_BN)


def first_allowed(tune, ids, tokenizer, counts):
    """(the first of `ids` that the tune's reader lets through, reader after it), (None, None) if there is none."""
    if tune.reader is None:
        counts['tried'] += 1
        return ids[0], None
    for i in ids:
        if i == tokenizer.tune:
            after = tune.reader if tune.reader.can_end else None
        else:
            after = tune.reader.feed(tokenizer.tokens[i])
            if after and after.ends_line and i in torn_line_ends(tokenizer, after.line_end.removeprefix(after.partial)):
                after = None
        counts['tried'] += 1
        if after:
            return i, after
        counts['refused'] += 1
    return None, None


@cache
def torn_line_ends(tokenizer, line_end):
    """Ids of the tokens that end in a barline and never stand before a line's end: the vocabulary has both in one.
    A model has never seen the two apart. Where only the line's end can follow, such a token leads astray."""
    rest = tokenizer.encode(line_end)
    return {i for i, text in enumerate(tokenizer.tokens)
            if text.endswith(('|', PHRASE_END)) and tokenizer.encode(text + line_end) != [i, *rest]}
