"""The interface of scikit-learn's estimators, without scikit-learn.

`sklearn.base.clone`, `check_is_fitted` and other tools that use parameters accept such an object.
"""

from __future__ import annotations

from inspect import signature
from typing import Any, Self

from sif.config import did_you_mean
from sif.errors import ConfigError


class Estimator:
    """Parameters by name: the constructor stores each under its own name, and nothing else."""

    def get_params(self, deep: bool = True) -> dict[str, Any]:
        """Returns the arguments of the constructor.

        Args:
            deep: Of scikit-learn; changes nothing, since no parameter is an estimator.

        Returns:
            Name of each argument to its value.

        Examples:
            >>> sif.Recommender(budget="2min").get_params()["budget"]
            '2min'
        """
        return {name: getattr(self, name) for name in signature(type(self)).parameters}

    def set_params(self, **parameters: Any) -> Self:
        """Changes arguments of the constructor, for the next `fit`.

        Args:
            parameters: Name of an argument to its new value.

        Returns:
            The same object.

        Raises:
            ConfigError: An unknown name; nothing has changed.

        Examples:
            >>> sif.Recommender().set_params(seed=1)
            Recommender(seed=1)
        """
        known = self.get_params()
        for name in parameters:
            if name not in known:
                raise ConfigError(
                    f"set_params: {name}: unknown argument{did_you_mean(name, known)}; expected "
                    f"some of {', '.join(known)}"
                )
        for name, value in parameters.items():
            setattr(self, name, value)
        return self

    def __repr__(self) -> str:
        """The call that constructs it, without arguments at their defaults."""
        usual = signature(type(self)).parameters
        arguments = [
            f"{name}={value!r}"
            for name, value in self.get_params().items()
            if repr(value) != repr(usual[name].default)
        ]
        return f"{type(self).__name__}({', '.join(arguments)})"

    def __sklearn_is_fitted__(self) -> bool:
        """True if an attribute ends in an underscore, by scikit-learn's convention."""
        return any(name.endswith("_") and not name.startswith("_") for name in vars(self))

    def __sklearn_tags__(self) -> Any:
        """scikit-learn's description of an estimator; only scikit-learn asks for it."""
        from sklearn.utils import Tags, TargetTags

        return Tags(
            estimator_type=None, target_tags=TargetTags(required=False), transformer_tags=None,
            classifier_tags=None, regressor_tags=None,
        )  # fmt: skip
