"""Generation: many tunes at a time from a model with a cache, with or without the constraint.

    tunes = [Tune(tokenizer, seed=(1, i), reader=Reader()) for i in range(10)]
    counts = generate(model, tokenizer, tunes, top_p=0.9)
    tunes[0].text

Each row of the cache holds one tune. A row is filled by one forward pass over all that the tune has so far (prefill), then grows by a
token a step with all the others (decode). A tune that ends leaves its row to the next one. When a context has run full, its row is
filled again with the tune's header and most recent whole bars. What a row holds never depends on other rows.
"""
import numpy as np
import torch

KEPT_SHARE = 0.75           # of the context that header and latest bars may fill when it has run full
TRIED = 8                   # candidates fetched at first; the constraint rarely asks for more


class Tune:
    """A tune as it grows. `seed`: tuple of ints, all that its randomness depends on."""

    def __init__(self, tokenizer, seed, reader=None, prompt=''):
        self.tokens = tokenizer.tokens
        self.generator = torch.Generator().manual_seed(int(np.random.SeedSequence(seed).generate_state(1, np.uint64)[0] >> 1))
        self.reader = reader and reader.feed(prompt)        # None: no constraint
        self.ids, self.text = [tokenizer.tune], ''
        self.header_end = 1                                 # number of ids before the first bar
        self.bar_ends = []                                  # number of ids up to the end of each bar
        self.n_context = 0                                  # ids in the cache, the newest one not counted
        self.ended = self.stuck = False                     # by <|tune|>; because the constraint let no token through
        for i in tokenizer.encode(prompt):
            self.add(i)
        self.n_prompt_bars = len(self.bar_ends)

    def add(self, i):
        text = self.tokens[i]
        self.text += text
        self.ids.append(i)
        if text.endswith('\n'):
            line = self.text[self.text.rfind('\n', 0, -1) + 1:]
            if line.startswith(('[', 'Z')) or self.bar_ends:
                self.bar_ends.append(len(self.ids))
            else:
                self.header_end = len(self.ids)

    def context(self, block_size):
        """Ids to fill a row with: all, or once they fill the context the header and the most recent whole bars."""
        if len(self.ids) < block_size:
            return list(self.ids)
        room = int(KEPT_SHARE * block_size)
        header = self.ids[:self.header_end] if self.header_end < room // 2 else []
        starts = [n for n in [self.header_end, *self.bar_ends] if len(self.ids) - n <= room - len(header)]
        return header + self.ids[starts[0] if starts and starts[0] < len(self.ids) else len(self.ids) - room + len(header):]


def on_batch_axis(name):
    """Axis of the batch in a tensor of the cache: (n_layer, B, ...), except the positions (B,)."""
    return 0 if name == 'pos' else 1


def prefill(model, cache, row, tune):
    """Fill a row of the cache with the tune so far; logits (V,) of what comes next."""
    ids = tune.context(model.config.block_size)
    tune.n_context = len(ids)
    own = model.init_cache(1)
    logits_BTV, _ = model(torch.tensor([ids], device=next(model.parameters()).device), cache=own)
    for name, tensor in own.items():
        cache[name].select(on_batch_axis(name), row).copy_(tensor.select(on_batch_axis(name), 0))
    return logits_BTV[0, -1]


@torch.inference_mode()
def generate(model, tokenizer, tunes, batch_size=32, max_tokens=2000, max_bars=64, temperature=1.0, top_p=1.0, top_k=None):
    """Grow every tune until it ends. Returns {'tokens', 'drawn', 'refused'}: tokens sampled, candidates tried and refused by the constraint."""
    block_size, device = model.config.block_size, next(model.parameters()).device
    waiting = [tune for tune in reversed(tunes) if not is_finished(tune, max_tokens, max_bars)]
    rows = [waiting.pop() for _ in range(min(batch_size, len(waiting)))]
    counts = {'tokens': 0, 'drawn': 0, 'refused': 0}
    if not rows:
        return counts
    cache = model.init_cache(len(rows))
    logits_BV = torch.stack([prefill(model, cache, r, tune) for r, tune in enumerate(rows)])
    while rows:
        for tune, i in zip(rows, draw(logits_BV, rows, tokenizer, temperature, top_p, top_k, counts)):
            if i is None:
                tune.stuck = True
            elif i == tokenizer.tune:
                tune.ended = True
            else:
                tune.add(i)
                if tune.reader:
                    tune.reader = tune.after
        counts['tokens'] += len(rows)

        # Rows of finished tunes go to waiting ones, or are given up. Those and full rows are filled, the others grow by one token.
        finished = [tune.ended or tune.stuck or is_finished(tune, max_tokens, max_bars) for tune in rows]
        if any(finished) and len(waiting) < sum(finished):
            keep = [r for r, done in enumerate(finished) if not done]
            keep = sorted(keep + [r for r, done in enumerate(finished) if done][:len(waiting)])
            index = torch.tensor(keep, device=device, dtype=torch.long)
            cache = {name: tensor.index_select(on_batch_axis(name), index) for name, tensor in cache.items()}
            rows, finished = [rows[r] for r in keep], [finished[r] for r in keep]
        rows = [waiting.pop() if done else tune for tune, done in zip(rows, finished)]
        if not rows:
            break
        to_fill = [r for r, tune in enumerate(rows) if finished[r] or tune.n_context >= block_size]
        if 'pos' in cache and to_fill:
            cache['pos'][to_fill] = 0
        if len(to_fill) < len(rows):
            newest_B1 = torch.tensor([[tune.ids[-1]] for tune in rows], device=device)
            logits_BV = model(newest_B1, cache=cache)[0][:, -1]
        else:
            logits_BV = logits_BV[:len(rows)].clone()
        for r, tune in enumerate(rows):
            if r in to_fill:
                logits_BV[r] = prefill(model, cache, r, tune)
            else:
                tune.n_context += 1
    return counts


def is_finished(tune, max_tokens, max_bars):
    return len(tune.bar_ends) >= max_bars or len(tune.ids) - 1 >= max_tokens


def draw(logits_BV, tunes, tokenizer, temperature, top_p, top_k, counts):
    """The next token of each tune, None where the constraint lets none through. With a constraint the reader after it is tune.after.

    Tokens race: each has log p plus Gumbel noise, the highest first. So the first that passes is a draw from the allowed
    tokens with their probabilities in proportion. Tokens outside of top_k and top_p come after all inside.
    """
    logits_BV = logits_BV.float().cpu()
    if temperature > 0:
        noise_BV = torch.stack([torch.empty(logits_BV.shape[1]).exponential_(generator=tune.generator) for tune in tunes])
        logits_BV = logits_BV / temperature
        score_BV = logits_BV - noise_BV.log() - 1e6 * outside(logits_BV, top_p, top_k)
    else:
        score_BV = logits_BV
    candidates = score_BV.topk(min(TRIED, score_BV.shape[1])).indices.tolist()
    chosen = []
    for row, (tune, ids) in enumerate(zip(tunes, candidates)):
        choice, tried = first_allowed(tune, ids, tokenizer)
        if choice is None:
            choice, more = first_allowed(tune, score_BV[row].argsort(descending=True).tolist()[len(ids):], tokenizer)
            tried += more
        counts['drawn'] += tried
        counts['refused'] += tried - (choice is not None)
        chosen.append(choice)
    return chosen


def outside(logits_BV, top_p, top_k):
    """Bool (B, V): tokens outside of the top k, or of the most likely ones that hold the share top_p."""
    if top_p >= 1 and top_k is None:
        return torch.zeros_like(logits_BV, dtype=torch.bool)
    p_BV, V = logits_BV.softmax(dim=1), logits_BV.shape[1]
    for k in (min(64, V), V):                                   # the few most likely nearly always do, and are found faster
        k = min(k, top_k or V)
        top_BK = p_BV.topk(k).values
        before_BK = top_BK.cumsum(dim=1) - top_BK
        total_B1 = top_BK.sum(dim=1, keepdim=True) if top_k else 1.0
        if top_p >= 1:
            return p_BV < top_BK[:, -1:]
        if k == top_k or k == V or bool((top_BK.sum(dim=1) >= top_p).all()):
            break
    inside_BK = before_BK < top_p * total_B1
    return p_BV < torch.where(inside_BK, top_BK, torch.inf).min(dim=1, keepdim=True).values


def first_allowed(tune, ids, tokenizer):
    """(first of `ids` that the tune's reader lets through or None, how many were tried)."""
    if tune.reader is None:
        return ids[0], 1
    begins = {}                                 # first character -> may it come next? Most refusals are settled by this
    for tried, i in enumerate(ids, 1):
        if i == tokenizer.tune:
            if tune.reader.can_end:
                return i, tried
            continue
        text = tokenizer.tokens[i]
        if tried > 1 and text[0] not in begins:
            begins[text[0]] = tune.reader.feed(text[0]) is not None
        if begins.get(text[0], True):
            tune.after = tune.reader.feed(text)
            if tune.after is not None:
                return i, tried
    return None, len(ids)
