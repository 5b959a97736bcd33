"""Generation: many tunes at a time from a model with a cache, with or without the constraint.

    tunes = [Tune(tokenizer, seed=(1, i), reader=Reader()) for i in range(10)]
    counts = generate(model, tokenizer, tunes, top_p=0.9)
    tunes[0].text

Each row of the cache holds one tune. A row is filled by one forward pass over all that the tune has so far (prefill), then
grows by a token a step with all the others (decode). A tune that ends leaves its row to the next one. When a context has
run full, its row is filled again with the tune's header and most recent whole bars. What a row holds depends on no other.

The constraint refuses tokens one by one. To take whatever it lets through would bend the model's distribution bar after bar
towards what is merely possible; to begin a bar anew whenever the first draw is refused would be exact for that bar (rejection
sampling) and slow. In between: after REFUSALS of them, the bar of that voice is begun anew.
"""
from functools import cache

import numpy as np
import torch

KEPT_SHARE = 0.6            # of the context that header and latest bars may fill when it has run full
FEW = 128                   # tokens among which the likely ones are sought first
REFUSALS = 5                # of one draw, after which the bar of the voice is begun anew
RETRIES = 20                # times that this is done; then any token that the constraint lets through is taken


class Tune:
    """A tune as it grows. `seed`: tuple of ints, all that its randomness depends on."""

    def __init__(self, tokenizer, seed, reader=None, prompt=''):
        self.tokens = tokenizer.tokens
        self.generator = torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1))
        self.reader = reader and reader.feed(prompt)        # None: no constraint
        if reader:
            self.reader.grid = True                         # what is sampled keeps to the grid; a prompt need not
        self.ids, self.text = [tokenizer.tune], ''
        self.header_end = 1                                 # number of ids before the first bar
        self.bar_ends = []                                  # number of ids up to the end of each bar
        self.n_context = 0                                  # ids that the cache holds
        self.ended = self.stuck = False                     # by <|tune|>; because the constraint let no token through
        self.saved = None                                   # (logits (V,), state of the row) at the mark
        for i in tokenizer.encode(prompt):
            self.add(i, self.reader)
        self.n_prompt_bars = len(self.bar_ends)
        self.mark()

    def add(self, i, reader):
        text = self.tokens[i]
        self.text += text
        self.ids.append(i)
        self.reader = reader
        if text.endswith('\n'):
            if self.bar_ends or self.text[self.text.rfind('\n', 0, -1) + 1] in '[Z':
                self.bar_ends.append(len(self.ids))
            else:
                self.header_end = len(self.ids)

    def mark(self):
        """A line or the bar of a voice begins here: the place to come back to."""
        self.marked, self.retries = (len(self.ids), len(self.text), self.reader, self.n_context), 0

    def at_mark(self):
        return len(self.ids) == self.marked[0] or self.text.endswith(('|', '\n'))

    def can_go_back(self, retries):
        return self.retries < retries and len(self.ids) > self.marked[0]

    def go_back(self):
        """Returns how many tokens were dropped."""
        n_dropped = len(self.ids) - self.marked[0]
        n_ids, n_text, self.reader, self.n_context = self.marked
        self.ids, self.text = self.ids[:n_ids], self.text[:n_text]
        self.retries += 1
        return n_dropped

    def context(self, block_size):
        """Ids to fill a row with: all, or once they fill the context the header and the most recent whole bars."""
        if len(self.ids) < block_size:
            return list(self.ids)
        room = int(KEPT_SHARE * block_size)
        header = self.ids[:self.header_end] if self.header_end < 3 * block_size // 8 else []
        room -= len(header)
        whole = [n for n in (self.header_end, *self.bar_ends) if 0 < len(self.ids) - n <= room]
        return header + self.ids[whole[0] if whole else -room:]


def lay_out(model):
    """Lay the head out in memory by columns: its products with ten rows take 0.6 of the time. Returns the model."""
    weight_VC = model.head.weight
    weight_VC.data = weight_VC.data.t().contiguous().t()
    return model


def append(model, ids, rows):
    """Append ids, a list of T for each row, to what the rows hold; logits (B, V) of what comes next."""
    idx_BT = torch.tensor(ids, device=model.head.weight.device)
    # For a few tokens oneDNN's set-up takes longer than the work: for one token in an LSTM of width 512 five times as long.
    with torch.backends.mkldnn.flags(enabled=idx_BT.shape[1] > 16, allow_tf32=None):
        return model(idx_BT, cache=rows)[0][:, 0]


def prefill(model, rows, row, tune):
    """Fill a row of the cache with the tune so far; logits (V,) of what comes next."""
    ids = tune.context(model.config.block_size)
    tune.n_context = len(ids)
    own = model.init_cache(1)
    logits_1V = append(model, [ids], own)
    for name, tensor in own.items():
        row_of(rows, name, row).copy_(row_of(own, name, 0))
    return logits_1V[0]


def row_of(rows, name, row):
    """View of one row of the cache's tensor `name`: positions are (B,), all others (n_layer, B, ...)."""
    return rows[name].select(0 if name == 'pos' else 1, row)


def save_row(rows, row, logits_V, tune):
    """Keep what brings the row back to where it is now: a GPT's row is cut at its position, an LSTM's state is copied."""
    tune.saved = logits_V.clone(), {name: row_of(rows, name, row).clone() for name in (['pos'] if 'pos' in rows else rows)}


def restore_row(model, rows, row, tune):
    """Bring the row back to the tune's mark; logits (V,) there."""
    if tune.saved is None:                                  # it has been filled since
        return prefill(model, rows, row, tune)
    logits_V, state = tune.saved
    for name, value in state.items():
        row_of(rows, name, row).copy_(value)
    return logits_V


@torch.inference_mode()
def generate(model, tokenizer, tunes, batch_size=32, max_tokens=2000, max_bars=64, temperature=1.0, top_p=1.0, top_k=None):
    """Grow every tune until it ends. Returns counts: 'tokens' kept, 'dropped' with bars begun anew, candidates 'tried' and
    'refused' by the constraint, unlikely tokens 'forced' by it (some of them dropped again)."""
    block_size, device = model.config.block_size, model.head.weight.device
    retries = RETRIES if temperature > 0 and top_k != 1 else 0      # nothing is gained where the same would be drawn again

    def done(tune):
        return tune.ended or tune.stuck or len(tune.bar_ends) >= max_bars or len(tune.ids) - 1 >= max_tokens

    counts = dict.fromkeys(('tokens', 'dropped', 'tried', 'refused', 'forced'), 0)
    waiting = [tune for tune in reversed(tunes) if not done(tune)]
    live = [waiting.pop() for _ in range(min(batch_size, len(waiting)))]
    rows = model.init_cache(max(1, len(live)))
    logits_BV = torch.zeros(len(live), model.config.vocab_size, device=device)
    fill = list(range(len(live)))
    while live:
        for r in fill:
            live[r].saved = None
            logits_BV[r] = prefill(model, rows, r, live[r])
        for r, tune in enumerate(live):
            if tune.reader and tune.at_mark():
                tune.mark()
                save_row(rows, r, logits_BV[r], tune)

        drawn = draw(logits_BV, live, tokenizer, temperature, top_p, top_k, retries, counts)
        anew = [r for r, (i, _, _) in enumerate(drawn) if i is None and live[r].can_go_back(retries)]
        for r in anew:
            counts['dropped'] += live[r].go_back()
            logits_BV[r] = restore_row(model, rows, r, live[r])
        if anew:
            again = draw(logits_BV[anew], [live[r] for r in anew], tokenizer, temperature, top_p, top_k, retries, counts)
            for r, result in zip(anew, again):
                drawn[r] = result
        for tune, (i, reader, likely) in zip(live, drawn):
            if i is None:
                tune.stuck = True
            elif i == tokenizer.tune:
                tune.ended = True
            else:
                tune.add(i, reader)
                counts['tokens'] += 1
                counts['forced'] += not likely

        # A finished tune gives its row to a waiting one, or gives it up.
        keep = [r for r, tune in enumerate(live) if not done(tune)]
        free = [r for r in range(len(live)) if r not in keep][:len(waiting)]
        fresh = {r: waiting.pop() for r in free}
        keep = sorted(keep + free)
        if len(keep) < len(live):
            index = torch.tensor(keep, device=device, dtype=torch.long)
            rows = {name: tensor.index_select(0 if name == 'pos' else 1, index) for name, tensor in rows.items()}
            logits_BV = logits_BV[index]
        live = [fresh.get(r, live[r]) for r in keep]

        # New rows and full ones are filled, all others grow.
        fill = [r for r, tune in enumerate(live) if tune in fresh.values() or tune.n_context >= block_size]
        if 'pos' in rows and fill:
            rows['pos'][fill] = 0
        if len(fill) < len(live):
            logits_BV = append(model, [tune.ids[-1:] for tune in live], rows)
            for r, tune in enumerate(live):
                tune.n_context += r not in fill
    counts['tokens'] -= counts['dropped']
    return counts


def draw(logits_BV, tunes, tokenizer, temperature, top_p, top_k, retries, counts):
    """For each tune (next token or None, reader after it, is it likely?); None where the constraint lets none of the tokens
    through that were tried.

    Tokens race: each arrives after an exponential time of rate p. So the first that passes is a draw from the allowed
    tokens with their probabilities in proportion. In a bar that can be begun anew at most REFUSALS are tried; at its start, or
    if it has been begun anew `retries` times, all the likely ones, and then the others, outside of top_k and top_p.
    """
    logits_BV = logits_BV.float().cpu()
    if temperature > 0:
        logits_BV = logits_BV / temperature if temperature != 1 else logits_BV
        candidates = race(logits_BV, tunes, top_p, top_k)
    else:
        candidates = logits_BV.topk(min(FEW, logits_BV.shape[1])).indices.tolist()
    chosen = []
    for row, (tune, ids) in enumerate(zip(tunes, candidates)):
        can_go_back = tune.can_go_back(retries)
        ids = ids[:REFUSALS] if can_go_back else ids
        place, reader = first_allowed(tune, ids, tokenizer)
        likely = place is not None
        if not (likely or can_go_back):
            counts['refused'] += len(ids)
            counts['tried'] += len(ids)
            tried = set(ids)
            logits_V = logits_BV[row]
            noise_V = torch.ones_like(logits_V).exponential_(generator=tune.generator)
            order = logits_V - noise_V.log() if temperature > 0 and top_k != 1 else logits_V        # the same race in logs
            ids = [i for i in order.argsort(descending=True).tolist() if i not in tried]
            place, reader = first_allowed(tune, ids, tokenizer)
        counts['tried'] += len(ids) if place is None else place + 1
        counts['refused'] += len(ids) if place is None else place
        chosen.append((None if place is None else ids[place], reader, likely))
    return chosen


def race(logits_BV, tunes, top_p, top_k, n=FEW):
    """For each row the likely tokens in the order in which the race ends; only the winner if no tune has a reader.

    Likely are the top k, and of these the most likely ones that hold the share top_p. They are sought among the n most likely,
    which is faster; rows where these hold too little race again, among eight times as many.
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
    if not any(tune.reader for tune in tunes):
        order = ids_BN.gather(1, score_BN.argmax(dim=1, keepdim=True)).tolist()
    else:
        places_BN, n_likely = score_BN.argsort(dim=1, descending=True), (score_BN > 0).sum(dim=1).tolist()
        order = [ids[:m] for ids, m in zip(ids_BN.gather(1, places_BN).tolist(), n_likely)]
    rows = [row for row, w in enumerate(wide) if w]
    if rows:
        for row, ids in zip(rows, race(logits_BV[rows], [tunes[row] for row in rows], top_p, top_k, 8 * n)):
            order[row] = ids
    return order


def most_likely(p_BV, n):
    """(p, ids) of the n most likely tokens of each row, in falling order. For few of many, torch.topk takes twice the time."""
    V = p_BV.shape[1]
    ids_BN = torch.from_numpy(np.argpartition(p_BV.numpy(), V - n)[:, V - n:]) if n < V else torch.arange(V).expand_as(p_BV)
    p_BN, places_BN = p_BV.gather(1, ids_BN).sort(dim=1, descending=True)
    return p_BN, ids_BN.gather(1, places_BN)


def first_allowed(tune, ids, tokenizer):
    """(place in `ids` of the first token that the tune's reader lets through, reader after it), (None, None) if there is none."""
    if tune.reader is None:
        return 0, None
    begins = {}                                 # first character -> may it come next? Most refusals are settled by this
    for place, i in enumerate(ids):
        if i == tokenizer.tune:
            if tune.reader.can_end:
                return place, tune.reader
            continue
        text = tokenizer.tokens[i]
        if place > 0 and text[0] not in begins:
            begins[text[0]] = tune.reader.feed(text[0]) is not None
        if begins.get(text[0], True):
            after = tune.reader.feed(text)
            if after is not None and not (after.ends_line and i in torn_line_ends(tokenizer)):
                return place, after
    return None, None


@cache
def torn_line_ends(tokenizer):
    """Ids of the tokens that end in a barline and never stand before a line's end, because the vocabulary has both in one token.
    A model has never seen the two apart: where only the line's end can follow, such a token leads astray."""
    newline = tokenizer.encode('\n')
    return {i for i, text in enumerate(tokenizer.tokens) if text.endswith('|') and tokenizer.encode(text + '\n') != [i, *newline]}
