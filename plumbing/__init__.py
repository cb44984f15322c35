"""What carries the scripts: flags, files, run folders, graph surgery, readers of data. It imports nothing from the root."""
import os

os.environ.setdefault('TF_CPP_MIN_LOG_LEVEL', '2')  # before TensorFlow is imported: no notes about the processor
