# Overlay: the blocks of a modern transformer, to be given after the config of a GPT
# (config/gpt_micro.py config/modern.py -> out/gpt_micro-modern).

# Queries and keys are rotated by their position; no learned vector is added to the input.
positions = 'rotary'
# Half of each key is that of the token before: one layer is enough to copy.
key_offset = True
# Queries and keys have unit mean square: twice the best learning rate costs little.
qk_norm = True
# Before attention and before the MLP a channel sees its last four tokens, which helps to find
# passages that occur again.
conv_taps = 4
