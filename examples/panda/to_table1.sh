#!/bin/sh
# From the PANDA folder as Kaggle ships it to the paper's Table 1. Explained in README.md.
#
#     sh examples/panda/to_table1.sh PANDA ENCODER
#
# PANDA holds train_images/, train_label_masks/ and train.csv; ENCODER is what --encoder takes.
# Everything is written below the present folder; a stopped run goes on where it was.
# Three settings can be taken from the environment, for trials on a few slides.
set -eu

PANDA=$1
ENCODER=$2
TOLERANCE=${TOLERANCE:-0.11}
EPOCHS=${EPOCHS:-50}
SEEDS=${SEEDS:-3}

HERE=$(dirname "$0")

hvit info "$PANDA/train_images" --csv info.csv
python "$HERE/check_counts.py" "$PANDA/train.csv" --info info.csv --masks "$PANDA/train_label_masks" || true
hvit split "$PANDA/train.csv" --folds 5 --stratify label -o folds.csv
hvit tile "$PANDA/train_images" --spacing-tolerance "$TOLERANCE" -w work
python "$HERE/estimate.py" work/status.csv
hvit embed "$PANDA/train_images" --encoder "$ENCODER" --plain --spacing-tolerance "$TOLERANCE" -w work
hvit train work "$PANDA/train.csv" --folds folds.csv --encoder "$ENCODER" --attention masked plain --seeds "$SEEDS" --epochs "$EPOCHS" --allow-missing -o work/models/panda
hvit evaluate work/models/panda/predictions/masked-tune.csv "$PANDA/train.csv" --by data_provider --allow-missing
hvit evaluate work/models/panda/predictions/plain-tune.csv "$PANDA/train.csv" --by data_provider --allow-missing
hvit compare work/models/panda/predictions/masked-tune.csv work/models/panda/predictions/plain-tune.csv "$PANDA/train.csv" --margin 0.02
