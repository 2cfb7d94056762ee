"""Records varied anew in every step of training, each by itself: `draws` is the chance, `pictures` and `windows` what it does."""

__all__ = ["draws", "pictures", "windows"]
