"""Codes of pictures as files of TensorBoard's projector, where each picture stands in the place of its code."""
import math

from plumbing import codes, files, measures, pixels

import numpy as np
from PIL import Image

COUNT = 5000   # pictures, at most: so many its UMAP takes, and its t-SNE, a program in the browser, slows down with every one
SIDE = 64      # pixels on a side, at most: 71 x 71 pictures are then 4,544 x 4,544, of the 8,192 x 8,192 that may be one sprite
CONFIG = '''embeddings {{
  tensor_name: "{name}"
  tensor_path: "projector/tensors.tsv"
  metadata_path: "projector/metadata.tsv"
  sprite {{
    image_path: "projector/sprite.png"
    single_image_dim: [{side}, {side}]
  }}
}}
'''


def write_projector(folder, name, images, labels=None, classes=None):
    """projector/ and projector_config.pbtxt in a run's folder, of the codes that its network `name` makes of pictures.

    images: uint8 [N, H, H, C], of which COUNT are taken; labels [N], whole numbers, index the names `classes`. Pictures
    without classes are told by their index in the set.
    """
    chosen = measures.subset(np.arange(len(images)), COUNT)
    images = images[chosen]
    told = chosen if labels is None else [files.one_line(classes[label]) for label in labels[chosen]]
    found = codes.codes_of(folder, name, images)
    found = np.pad(found, [(0, 0), (0, max(0, 3 - found.shape[1]))])       # of fewer than three numbers it shows nothing
    with files.replacing(folder / 'projector') as temporary:
        temporary.mkdir()
        (temporary / 'tensors.tsv').write_text(''.join('\t'.join(f'{x:.6g}' for x in code) + '\n' for code in found.tolist()))
        (temporary / 'metadata.tsv').write_text(''.join(f'{text}\n' for text in told), encoding='utf-8')
        pixels.save(temporary / 'sprite.png', sprite(images))
    with files.replacing(folder / 'projector_config.pbtxt') as temporary:
        temporary.write_text(CONFIG.format(name=name, side=min(SIDE, images.shape[1])))


def sprite(images):
    """uint8 [N, H, H, C] -> one picture of all of them, row by row, as square as N allows; those above SIDE are made smaller."""
    if images.shape[1] > SIDE:
        smaller = (Image.fromarray(image.squeeze()).resize([SIDE, SIDE], Image.Resampling.BOX) for image in images)
        images = np.stack([np.asarray(image).reshape(SIDE, SIDE, -1) for image in smaller])
    blank = math.ceil(math.sqrt(len(images))) ** 2 - len(images)           # the sprite is square
    picture = pixels.tiled(np.pad(images, [(0, blank), (0, 0), (0, 0), (0, 0)]))
    return picture[:, :, 0] if picture.shape[2] == 1 else picture
