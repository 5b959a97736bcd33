# Overlay: a transformer's blocks as of today, to be given after the config of a GPT
# (config/gpt_micro.py config/modern.py -> out/gpt_micro-modern).
positions = 'rotary'        # queries and keys turned by their position, instead of a learned vector added to the input
key_offset = True           # half of each key is that of the token before: one layer is enough to copy
qk_norm = True              # queries and keys of unit mean square: no cliff above the best learning rate
conv_taps = 4               # before attention and before the MLP a channel sees its last four tokens: to match passages
