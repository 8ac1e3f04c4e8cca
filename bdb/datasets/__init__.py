"""Data sets: readers that give uint8 images, and what each declares about its training."""
