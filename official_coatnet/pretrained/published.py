"""The CoAtNets whose weights others have published.

What is written here was read from the projects that publish them: image,
preprocessing and licence from timm 1.0.31 (`pretrained_cfg`) and
keras-cv-attention-models 1.4.3, results from timm's results-imagenet.csv and
the latter's readme. Nothing of it was measured here: the files themselves are
not part of this package.
"""

import dataclasses
import difflib
import importlib.resources
import types
from collections.abc import Mapping

from official_coatnet.data import device

TIMM = 'timm'
KECAM = 'kecam'
IMAGENET_1K = 'imagenet1k'
IMAGENET_12K = 'imagenet12k'

_CLASSES = {IMAGENET_1K: 1000, IMAGENET_12K: 11821}
_HALF = (0.5, 0.5, 0.5)
_KECAM_URL = (
  'https://github.com/leondgarse/keras_cv_attention_models/releases/download/'
  'coatnet/'
)


@dataclasses.dataclass(frozen=True)
class Published:
  """One published checkpoint.

  Attributes:
    name: What it is called here, and on the Hugging Face hub where it is there.
    model: Row of the size table that it is the weights of.
    image_size: Side of the images that it was trained or tuned on, in pixels.
    class_names: 'imagenet1k' or 'imagenet12k'.
    parameters: In millions, as published; of 12K classes as timm's code has
      them.
    top1: Published top-1 on the validation images of ImageNet-1K in percent,
      None where the classes are others.
    top5: Likewise.
    crop_fraction: Share of the side that evaluation cuts out.
    center_crop: False where the whole image is squeezed into shape.
    mean: Of the pixels, on a scale of 0 to 1.
    deviation: Likewise.
    origin: 'timm' or 'kecam'.
    url: Where its file can be had by hand.
    licence: Of the weights.
  """

  name: str
  model: str
  image_size: int
  class_names: str
  parameters: float
  top1: float | None
  top5: float | None
  crop_fraction: float
  center_crop: bool
  mean: tuple[float, float, float]
  deviation: tuple[float, float, float]
  origin: str
  url: str
  licence: str

  @property
  def num_classes(self) -> int:
    """Number of its classes."""
    return _CLASSES[self.class_names]


def _timm(
  tag: str,
  parameters: float,
  top1: float | None = None,
  top5: float | None = None,
  *,
  crop_fraction: float = 0.95,
  center_crop: bool = True,
  mean: tuple[float, float, float] = _HALF,
  deviation: tuple[float, float, float] = _HALF,
) -> Published:
  """A row of timm: `tag` is `<architecture>_<image size>.<training>`."""
  architecture, _, training = tag.partition('.')
  model, _, image_size = architecture.rpartition('_')
  is_12k = training == 'sw_in12k'
  return Published(
    name=f'timm/{tag}',
    model=f'timm_{model}',
    image_size=int(image_size),
    class_names=IMAGENET_12K if is_12k else IMAGENET_1K,
    parameters=parameters,
    top1=top1,
    top5=top5,
    crop_fraction=crop_fraction,
    center_crop=center_crop,
    mean=mean,
    deviation=deviation,
    origin=TIMM,
    url=f'https://huggingface.co/timm/{tag}/resolve/main/model.safetensors',
    licence='apache-2.0',
  )


def _kecam(image_size: int, top1: float) -> Published:
  return Published(
    name=f'kecam/coatnet0_{image_size}_imagenet',
    model='kecam_coatnet_0',
    image_size=image_size,
    class_names=IMAGENET_1K,
    parameters=23.3,
    top1=top1,
    top5=None,
    # The default of its evaluation.
    crop_fraction=1.0,
    center_crop=True,
    mean=device.IMAGENET_MEAN,
    deviation=device.IMAGENET_DEVIATION,
    origin=KECAM,
    url=f'{_KECAM_URL}coatnet0_{image_size}_imagenet.h5',
    licence='apache-2.0',
  )


PUBLISHED: Mapping[str, Published] = types.MappingProxyType(
  {
    each.name: each
    for each in (
      _timm(
        'coatnet_rmlp_2_rw_384.sw_in12k_ft_in1k',
        73.88,
        87.388,
        98.312,
        crop_fraction=1.0,
        center_crop=False,
      ),
      _timm('coatnet_2_rw_224.sw_in12k_ft_in1k', 73.87, 86.582, 97.896),
      _timm('coatnet_rmlp_2_rw_224.sw_in12k_ft_in1k', 73.88, 86.538, 97.894),
      _timm('coatnet_rmlp_1_rw2_224.sw_in12k_ft_in1k', 41.72, 84.940, 96.968),
      _timm('coatnet_rmlp_2_rw_224.sw_in1k', 73.88, 84.608, 96.744),
      _timm('coatnet_1_rw_224.sw_in1k', 41.72, 83.620, 96.382),
      _timm('coatnet_rmlp_1_rw_224.sw_in1k', 41.69, 83.350, 96.452),
      _timm('coatnet_0_rw_224.sw_in1k', 27.44, 82.396, 95.844),
      _timm(
        'coatnet_bn_0_rw_224.sw_in1k',
        27.44,
        82.394,
        96.194,
        mean=device.IMAGENET_MEAN,
        deviation=device.IMAGENET_DEVIATION,
      ),
      _timm(
        'coatnet_rmlp_nano_rw_224.sw_in1k',
        15.15,
        82.064,
        95.874,
        crop_fraction=0.9,
      ),
      _timm(
        'coatnet_nano_rw_224.sw_in1k',
        15.14,
        81.704,
        95.650,
        crop_fraction=0.9,
      ),
      _timm('coatnet_3_rw_224.sw_in12k', 181.81),
      _timm('coatnet_2_rw_224.sw_in12k', 84.96),
      _timm('coatnet_rmlp_2_rw_224.sw_in12k', 84.97),
      _timm('coatnet_rmlp_1_rw2_224.sw_in12k', 50.05),
      _kecam(224, 82.79),
      _kecam(160, 80.48),
    )
  }
)


def find(name: str) -> Published | None:
  """Returns the row of a name, with or without 'timm/'; None if unknown."""
  return PUBLISHED.get(name) or PUBLISHED.get(f'{TIMM}/{name}')


def nearest(name: str) -> str | None:
  """Returns the known name that is most like another, if any is."""
  near = difflib.get_close_matches(name, PUBLISHED, n=1, cutoff=0.4)
  return near[0] if near else None


def read_class_names(name: str) -> tuple[str, ...]:
  """Returns the classes of 'imagenet1k' or 'imagenet12k', in their order.

  They are words of WordNet, by timm's `data/_info` (imagenet_synsets.txt,
  imagenet12k_synsets.txt and imagenet_synset_to_lemma.txt, version 1.0.31). A
  word that stands for several classes has the class's WordNet id beside it.
  """
  folder = importlib.resources.files('official_coatnet.pretrained')
  text = (folder / 'class_names' / f'{name}.txt').read_text('utf-8')
  rows = [line.split('\t') for line in text.splitlines()]
  counts: dict[str, int] = {}
  for _, word in rows:
    counts[word] = counts.get(word, 0) + 1
  return tuple(
    word if counts[word] == 1 else f'{word} ({synset})' for synset, word in rows
  )
