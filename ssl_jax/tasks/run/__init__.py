"""What a run is: the experiment built from flags, its folder, a stored run, its frozen encoder."""
