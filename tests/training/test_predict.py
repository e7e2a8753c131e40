from __future__ import annotations

import numpy as np

from smallprint.training.data import load_dataset
from smallprint.training.predict import predict
from smallprint.training.trainer import train


def test_a_network_rebuilt_from_its_weights_says_what_the_trained_one_said() -> None:
    digits = load_dataset("digits")
    recipe = {"optimiser": "sgd lr=0.05 momentum=0.9", "batch": 64, "epochs": 2, "average": "ema 0.9"}
    trained = train("conv3-8 batchnorm relu dropout=5% maxpool gap conv1-10,bias", recipe, digits, threads=1)
    list(trained)
    logits = predict(trained.trace, trained.weights(), digits.test_images_NCHW, digits.mean_and_deviation)
    np.testing.assert_array_equal(logits.argmax(1), trained.answers()["predicted"])


def test_no_images_give_no_logits() -> None:
    digits = load_dataset("digits")
    trained = train("gap linear-10", {"optimiser": "sgd lr=0.1"}, digits, threads=1)
    assert predict(trained.trace, trained.weights(), digits.test_images_NCHW[:0], digits.mean_and_deviation).shape == (
        0,
        10,
    )
