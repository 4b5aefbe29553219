"""What calibration learns channel by channel, and what is done with it: corrected biases, channels of one magnitude."""
