"""DSA, the dynamic semantic adjuster (paper 5): a learned matrix weights pairs of images."""
