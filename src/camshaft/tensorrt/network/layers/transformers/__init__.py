"""Layers of language models: attention, rotary embeddings, caches of keys and values, mixtures of experts."""
