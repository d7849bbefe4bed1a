"""A run: its experiment built from flags, folder, stored state, frozen encoder and report."""
