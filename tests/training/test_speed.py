"""training/speed.py: a step that is timed is a step that trains."""
import copy
import math

import pytest
import torch

from lstm import LSTM, LSTMConfig
from model import GPT, GPTConfig
from training.speed import step_time


@pytest.mark.parametrize('model', [GPT(GPTConfig(vocab_size=50, block_size=16, n_layer=1, n_head=2, n_embd=8)),
                                   LSTM(LSTMConfig(vocab_size=50, n_layer=1, hidden_size=8))])
def test_every_weight_changes_and_the_time_is_a_number_of_seconds(model):
    model.init_weights()
    before = copy.deepcopy(model.state_dict())
    seconds = step_time(model, vocab_size=50, device='cpu', batch_size=4, block_size=16)
    assert 0 < seconds < math.inf
    after = dict(model.named_parameters())
    assert not any(torch.equal(before[name], weight) for name, weight in after.items())
