"""The sizes of the attention that is measured alone."""

HEADS = 12
ATTENTION_SIZE = 64
