#!/bin/bash
# What a lab hands around: an environment, a data server in the background, and the training.
export TOKENIZERS_PARALLELISM=false
python -c "import time; time.sleep(1000)" &
python "$(dirname "$0")/plain.py" --lr 1e-3
