"""Read model files: sleap-nn, SLEAP (Keras), exported models, and sleap-nn's own exports."""
