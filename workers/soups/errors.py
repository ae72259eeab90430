"""Refusals of ingredients."""


class IngredientError(ValueError):
    """An ingredient, or a set of them, cannot be used.

    ``code`` is stable and names the reason; the message says which folder and what to change.
    """

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message

    def __reduce__(self) -> tuple[type["IngredientError"], tuple[str, str]]:
        return type(self), (self.code, self.message)
