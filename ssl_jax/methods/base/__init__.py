"""Base classes of methods: batches, embeddings, heads, queues and pairs of views."""
