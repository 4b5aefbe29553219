"""The builder of TensorRT's API: configurations, profiles, calibrators, timing caches, builds."""
