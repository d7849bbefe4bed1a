"""What methods are made of: batches, embeddings, networks, queues, and three families."""
