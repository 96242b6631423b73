"""Small images and archives for tests of building records."""

import io
import tarfile

import numpy as np
from PIL import Image


def encode(seed, image_format='JPEG', *, mode='RGB', size=(16, 12)):
  """Returns an image file of noise, the same for equal arguments."""
  noise = np.random.RandomState(seed).randint(0, 256, (*size[::-1], 3))
  buffer = io.BytesIO()
  Image.fromarray(noise.astype(np.uint8)).convert(mode).save(
    buffer, image_format
  )
  return buffer.getvalue()


def make_tar(members):
  """Returns a tar of (name, contents) pairs, or of (TarInfo, None) pairs."""
  buffer = io.BytesIO()
  with tarfile.open(fileobj=buffer, mode='w') as archive:
    for name, contents in members:
      if contents is None:
        archive.addfile(name)
      else:
        info = tarfile.TarInfo(name)
        info.size = len(contents)
        archive.addfile(info, io.BytesIO(contents))
  return buffer.getvalue()


def make_class_archives(images):
  """Returns a tar of one tar a class, from {synset: {name: contents}}."""
  return make_tar(
    (f'{synset}.tar', make_tar(members.items()))
    for synset, members in images.items()
  )
