"""Labeled images: read, split, augment, stream.

Pillow and scikit-learn are imported only when they are needed to read images. Other packages use
only the names exported here.
"""

from __future__ import annotations

from sif.data.images.augment import Augmentation, Preparation, Statistics, channel_statistics
from sif.data.images.dataset import Images
from sif.data.images.folder_stream import FolderStream, folder_batches
from sif.data.images.lazy import FolderImages
from sif.data.images.load import load_images
from sif.data.images.split import ImageSplit, make_image_split
from sif.data.images.stream import ImageStream, image_batches

__all__ = [
    "Augmentation",
    "FolderImages",
    "FolderStream",
    "ImageSplit",
    "ImageStream",
    "Images",
    "Preparation",
    "Statistics",
    "channel_statistics",
    "folder_batches",
    "image_batches",
    "load_images",
    "make_image_split",
]
