"""The LSTM of the study, with the interface of the GPT (model.py): same loss, same cache calls,
same parameter groups.

    model = LSTM(LSTMConfig(vocab_size=5000, n_layer=1, hidden_size=512))

Embedding of the hidden size, stacked nn.LSTM layers, a head with bias. With torch's two bias
vectors per layer, parameter counts are those of the original study. Every window starts from a zero
state, as the GPT's starts from an empty context.

What an architecture must have for train.py and sample.py:
- a dataclass of its config with `block_size`, kept as `.config`
- `init_weights`, `forward`, `init_cache`, `num_params` and `flops_per_token` as below
- the names `wte`, `wpe` and `head` for what has learning rates of its own; `head.weight`
- caches whose tensors are (n_layer, B, ...), or (B,) for `pos`, which says that a row can be cut
  back
"""
from dataclasses import dataclass

import torch
import torch.nn as nn
import torch.nn.functional as F

from model import checked_sum, head_output


@dataclass
class LSTMConfig:
    vocab_size: int = 5000
    block_size: int = 256       # tokens of a training window (sampling may go on beyond)
    n_layer: int = 1
    hidden_size: int = 512
    dropout: float = 0.0        # of what each layer gives: between layers and before the head


class LSTM(nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config = config
        self.wte = nn.Embedding(config.vocab_size, config.hidden_size)
        self.lstm = nn.LSTM(config.hidden_size, config.hidden_size, config.n_layer,
                            batch_first=True)
        self.head = nn.Linear(config.hidden_size, config.vocab_size)
        self.init_weights()

    @torch.no_grad()
    def init_weights(self, kind='width'):
        """Draw all weights from torch's generator.

        'gpt2' (the original recipe): torch's own for the LSTM and the head,
        U(±1 / sqrt(hidden_size)), and N(0, 0.02) for the embedding. 'width': the same with
        embeddings N(0, 1), forget gates that start open (bias 1) and a head N(0, 1 / hidden_size).
        """
        c = self.config
        self.lstm.reset_parameters()
        self.head.reset_parameters()
        nn.init.normal_(self.wte.weight, std=1.0 if kind == 'width' else 0.02)
        if kind == 'width':
            nn.init.normal_(self.head.weight, std=1 / c.hidden_size)
            nn.init.zeros_(self.head.bias)
            for name, p in self.lstm.named_parameters():
                if 'bias' in name:
                    nn.init.zeros_(p)
                if 'bias_ih' in name:       # gates are stacked: input, forget, cell, output
                    p[c.hidden_size:2 * c.hidden_size] = 1.0

    def forward(self, idx_BT, targets_BT=None, cache=None, reduction='mean'):
        """-> (logits (B, T, V), None), or with targets (None, mean loss in nats).

        reduction='none' gives losses (B, T) without gradient. With a cache, idx continues the state
        that it holds, and the logits are those of the last position only, (B, 1, V).
        """
        if cache is None:
            return head_output(self.head, self.stacked(self.wte(idx_BT)), targets_BT, reduction)
        x_BTC, (cache['h'], cache['c']) = self.lstm(self.wte(idx_BT), (cache['h'], cache['c']))
        return self.head(x_BTC[:, -1:]), None

    def stacked(self, x_BTC):
        """What the last layer gives, (B, T, C); in training with dropout after each layer.

        Dropout draws from torch's generator. That of cuDNN has a state of its own, which no seed
        reaches, so a run with it could not be resumed bit for bit.
        """
        if not (self.training and self.config.dropout):
            return self.lstm(x_BTC)[0]
        zero_1BC = x_BTC.new_zeros(1, len(x_BTC), self.config.hidden_size)
        state = zero_1BC, zero_1BC
        for weights in self.lstm.all_weights:
            # (input, state, weights, has biases, layers, dropout, training, both ways, batch first)
            x_BTC = torch.lstm(x_BTC, state, weights, True, 1, 0.0, True, False, True)[0]
            x_BTC = F.dropout(x_BTC, self.config.dropout)
        return x_BTC

    def init_cache(self, batch):
        """Zero state: `h` and `c`, each (n_layer, B, hidden_size)."""
        shape = (self.config.n_layer, batch, self.config.hidden_size)
        return {'h': self.wte.weight.new_zeros(shape), 'c': self.wte.weight.new_zeros(shape)}

    def num_params(self):
        """{'total', 'embedding', 'position', 'head', 'non_embedding'}; the last four sum to the
        first."""
        c = self.config
        layer = 4 * c.hidden_size * (2 * c.hidden_size + 2)
        groups = {'embedding': c.vocab_size * c.hidden_size, 'position': 0,
                  'head': c.vocab_size * (c.hidden_size + 1), 'non_embedding': c.n_layer * layer}
        return checked_sum(self, groups)

    def flops_per_token(self):
        """Training FLOPs per token: 6 per weight of a matrix product (2 forward, 4 backward)."""
        c = self.config
        return 6 * (c.n_layer * 8 * c.hidden_size ** 2 + c.vocab_size * c.hidden_size)
