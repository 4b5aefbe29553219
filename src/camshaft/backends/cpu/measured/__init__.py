"""What is measured of a machine: peaks of its arithmetic, bandwidth of its memory."""
