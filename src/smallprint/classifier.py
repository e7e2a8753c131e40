"""SmallNetClassifier: a small network as a scikit-learn estimator."""

from __future__ import annotations

from collections.abc import Mapping
from math import isqrt
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils import check_array
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d, validate_data

from smallprint.results.runs import Arrays
from smallprint.spec.dataset import DatasetFacts
from smallprint.spec.network import Network
from smallprint.spec.recipe import Recipe
from smallprint.spec.trace import Shape, Trace, trace
from smallprint.training.data import Dataset
from smallprint.training.predict import predict
from smallprint.training.trainer import Trainer

# Shapes: N images, C channels, H rows, W columns, K classes.
_IMAGES = "every conv3: pad=1; after conv3: batchnorm relu; conv3-8 conv3-8 maxpool conv3-16 gap conv1-{classes},bias"
_ROWS = "flatten linear-32,bias relu linear-{classes},bias"  # for what is no image, or hardly one
_RECIPE: Mapping[str, object] = {"optimiser": "adamw lr=0.02", "schedule": "onecycle", "batch": 32, "epochs": 30}
_SMALLEST = 6  # rows and columns of what counts as an image


class SmallNetClassifier(ClassifierMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn is untyped
    """A network in smallprint's notation, trained by its recipe, behind scikit-learn's interface.

    Parameters:
        network: the network's text or value; `{classes}` in a text stands for the number of classes. None: a small
            convolutional network, or for rows of less than 6 x 6 values one hidden layer.
        recipe: a `Recipe`, or its keys and sentences as in a ladder file. None: AdamW over 30 epochs, one-cycle.
        seed: decides the first weights, the data order, augmentation and dropout.
        image_shape: (C, H, W), (H, W) or None, for rows of features; None: square images where the number of
            features is a square, else one row of pixels.
        threads: of the training; None: timed.

    Images come as (N, H, W) or (N, C, H, W), rows as (N, features); any numbers. The training images' least and
    largest value become 0 and 1, then their own mean and deviation per channel normalise them.

    Attributes after `fit`: `classes_`, `n_features_in_` (of one image), `network_`, `recipe_`, `epochs_` (what each
    epoch measured in training), `weights_` (arrays by name), `parameters_` (how many).
    """

    def __init__(
        self,
        network: Network | str | None = None,
        recipe: Recipe | Mapping[str, object] | None = None,
        *,
        seed: int = 0,
        image_shape: tuple[int, ...] | None = None,
        threads: int | None = None,
    ) -> None:
        self.network = network
        self.recipe = recipe
        self.seed = seed
        self.image_shape = image_shape
        self.threads = threads

    def fit(self, X: ArrayLike, y: ArrayLike) -> SmallNetClassifier:
        """Train on images and their labels (N,).

        Raises:
            ValueError: no numbers, other lengths, fewer than two classes, a network or recipe that does not fit.
        """
        images = self._images(X, y, reset=True)
        labels = column_or_1d(y, warn=True)
        check_classification_targets(labels)
        self.classes_, coded = np.unique(labels, return_inverse=True)
        if len(self.classes_) < 2:
            raise ValueError(f"a classifier needs at least two classes; found 1 class: {self.classes_[0]!r}")
        low, high = float(images.min()), float(images.max())
        self.range_ = (low, high if high > low else low + 1)
        images_NCHW = self._greys(images)
        dataset = Dataset(
            facts=DatasetFacts(
                name="images",
                title="images given to fit",
                input_shape=cast(Shape, images_NCHW.shape[1:]),
                classes=tuple(map(str, self.classes_)),
                train=len(images_NCHW),
                test=0,
            ),
            train_images_NCHW=images_NCHW,
            train_labels_N=coded.astype(np.int64),
            test_images_NCHW=images_NCHW[:0],
            test_labels_N=np.empty(0, np.int64),
        )
        self.image_shape_ = dataset.facts.input_shape
        self.network_ = self._network(dataset.facts)
        said = _RECIPE if self.recipe is None else self.recipe
        self.recipe_ = said if isinstance(said, Recipe) else Recipe.parse(said)
        self.normalisation_ = dataset.mean_and_deviation
        trainer = Trainer(self._trace(), self.recipe_, dataset, int(self.seed), threads=self.threads)
        self.epochs_ = list(trainer)
        self.weights_: Arrays = trainer.weights()
        self.parameters_ = self._trace().parameters
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float64]:
        """The probability of each class of `classes_` for each image, (N, K)."""
        check_is_fitted(self)
        images_NCHW = self._greys(self._images(X, None, reset=False))
        logits_NK = predict(self._trace(), self.weights_, images_NCHW, self.normalisation_)
        exponents = np.exp(logits_NK - logits_NK.max(1, keepdims=True), dtype=np.float64)[:, : len(self.classes_)]
        return cast(NDArray[np.float64], exponents / exponents.sum(1, keepdims=True))

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """The most likely class of each image, (N,)."""
        probabilities_NK = self.predict_proba(X)
        return cast(NDArray[Any], self.classes_[probabilities_NK.argmax(1)])

    def _images(self, X: ArrayLike, y: ArrayLike | None, *, reset: bool) -> NDArray[np.float64]:
        """Checked numbers: rows of features, or images."""
        if not (isinstance(X, np.ndarray) and X.ndim > 2):  # rows: scikit-learn's own checks and messages
            arguments = {"y": y} if reset else {}
            checked = validate_data(self, X, **arguments, reset=reset, dtype="numeric", allow_nd=True)
            return np.asarray(checked[0] if reset else checked, np.float64)
        images = check_array(X, allow_nd=True, dtype="numeric")
        if y is not None:
            check_consistent_length(images, y)
        features = int(np.prod(images.shape[1:]))
        if reset:
            self.n_features_in_ = features
        elif features != self.n_features_in_:
            raise ValueError(
                f"X has images of {features} values, but {type(self).__name__} was fitted on {self.n_features_in_}"
            )
        return np.asarray(images, np.float64)

    def _greys(self, images: NDArray[np.float64]) -> NDArray[np.float32]:
        """(N, C, H, W), with the training images' range as 0 to 1."""
        low, high = self.range_
        shape = self._shape(images.shape[1:])
        return np.ascontiguousarray(((images - low) / (high - low)).reshape(-1, *shape).astype(np.float32))

    def _shape(self, found: tuple[int, ...]) -> Shape:
        """(C, H, W) of one image."""
        if len(found) > 3:
            raise ValueError(f"images come as (N, H, W) or (N, C, H, W), not with {len(found) + 1} axes")
        if len(found) > 1:
            return (1, *found) if len(found) == 2 else found
        if self.image_shape is not None:
            shape = tuple(self.image_shape)
            shape = (1, *shape) if len(shape) == 2 else shape
            if len(shape) != 3 or int(np.prod(shape)) != found[0]:
                raise ValueError(f"image_shape={self.image_shape} does not hold the {found[0]} features of a row")
            return shape
        side = isqrt(found[0])
        return (1, side, side) if side * side == found[0] else (1, 1, found[0])

    def _network(self, facts: DatasetFacts) -> Network:
        if isinstance(self.network, Network):
            return self.network
        _, height, width = facts.input_shape
        text = self.network or (_IMAGES if min(height, width) >= _SMALLEST else _ROWS)
        return Network.parse(text.replace("{classes}", str(len(facts.classes))))

    def _trace(self) -> Trace:
        return trace(self.network_, self.image_shape_, len(self.classes_))
