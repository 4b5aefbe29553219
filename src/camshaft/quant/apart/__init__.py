"""Channels of large magnitude, which are carried apart from INT8.

In the activations of a transformer some channels are 20 to 100 times the others.  One scale for all is then too
coarse for the rest.  Where calibration data show that, a product of rows with constant weights becomes

    y = s (q(x) - z) W8 + x[:, apart] W[apart, :]

with the channels `apart` in floats.  Their weights in W8 are zero, so that it does not matter what q makes of them,
and the range of x leaves them out.

Sources: T. Dettmers et al., LLM.int8(), NeurIPS 2022; G. Xiao et al., SmoothQuant, ICML 2023.  Both choose by
magnitude; here the error of the layer's results decides (`choice`), on rows of the data (`sample`).
"""
