"""What the input benchmark compares: ways to read the same JPEG images."""

import functools
import io
import itertools
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_datasets as tfds
from official.vision.dataloaders import classification_input
from official.vision.ops import augment as model_garden_augment

from official_coatnet.data import augment, config, labels, pipeline, schema
from official_coatnet.records import writing

IMAGE_SIZE = 224
NUM_CLASSES = 1000
_HEIGHT, _WIDTH = 375, 500
_BATCH_SIZE = 16


def photograph(number: int, *, quality: int = 95) -> bytes:
  """Returns a JPEG that takes as long to decode as a photograph of ImageNet.

  Noise at all scales, weaker the finer it is, as in nature: 375 x 500 pixels
  and 95 kB at a quality of 95. The more bytes, the larger the share of
  the entropy decoder, which cannot leave out what lies beyond a crop.
  """
  rng = np.random.default_rng(number)
  image = np.full((_HEIGHT, _WIDTH, 3), 128.0)
  for octave in range(1, 9):
    cells = 2**octave
    noise = rng.normal(size=(cells, cells, 3)) + rng.normal(
      size=(cells, cells, 1)
    )
    layer = tf.image.resize(noise, [_HEIGHT, _WIDTH], method='bicubic')
    image += layer.numpy() * 50 / cells**0.36
  pixels = tf.cast(tf.clip_by_value(image, 0, 255), tf.uint8)
  return tf.io.encode_jpeg(pixels, quality=quality).numpy()


def make_variants(
  folder: str, *, num_images: int, images_a_round: int, quality: int = 95
) -> dict[str, Callable[[], int]]:
  """Returns the variants that `timing.compare` takes.

  Args:
    folder: empty folder for their records.
    num_images: different images.
    images_a_round: images that a variant reads when it is called.
    quality: of the JPEG files, 1 to 100.
  """
  encoded = [
    photograph(number, quality=quality) for number in range(num_images)
  ]
  one = f'{folder}/one'
  several = f'{folder}/several'
  _write(one, encoded, schema_name='imagenet')
  _write(several, encoded, schema_name='multilabel')
  _write_tfds(f'{folder}/tfds', encoded)
  pixels = tf.stack([_bare(each) for each in encoded[:16]])
  pixels = tf.data.Dataset.from_tensor_slices(tf.cast(pixels, tf.uint8))
  ours = augment.RandAugment(2, 15)
  theirs = model_garden_augment.RandAugment(2, 15)
  datasets = {
    'bare decode, crop, resize': _batched(
      tf.data.TFRecordDataset(f'{one}/train-00000-of-00001').repeat(),
      lambda record: _bare(schema.parse(record, schema='imagenet')['encoded']),
    ),
    'training': _ours(data_dir=one),
    'Model Garden parser': _model_garden(f'{one}/train-00000-of-00001'),
    'one label': _batched(
      tf.data.TFRecordDataset(f'{one}/train-00000-of-00001').repeat(),
      functools.partial(_labels, schema_name='imagenet'),
    ),
    'several labels': _batched(
      tf.data.TFRecordDataset(f'{several}/train-00000-of-00001').repeat(),
      functools.partial(_labels, schema_name='multilabel'),
    ),
    'TFDS': _ours(
      source='tfds', tfds_name='photographs', data_dir=f'{folder}/tfds'
    ),
    'training, RandAugment(2, 15)': _ours(data_dir=one, randaugment=(2, 15)),
    'RandAugment(2, 15)': _batched(
      pixels.repeat().enumerate(),
      lambda index, image: ours(image, seed=tf.stack([index, index])),
    ),
    'Model Garden RandAugment(2, 15)': _batched(
      pixels.repeat(), theirs.distort
    ),
  }
  return {
    name: functools.partial(_read, iter(dataset), images_a_round // _BATCH_SIZE)
    for name, dataset in datasets.items()
  }


def _read(iterator, num_batches: int) -> int:
  for _ in itertools.islice(iterator, num_batches):
    pass
  return num_batches * _BATCH_SIZE


def _write(folder: str, encoded: list[bytes], *, schema_name: str) -> None:
  """Writes one file of records."""

  def make_shard(shard: int):
    del shard
    for number, image in enumerate(encoded):
      if schema_name == 'imagenet':
        serialized = schema.serialize_imagenet(
          image, label=number + 1, height=_HEIGHT, width=_WIDTH
        )
      else:
        # The density of JFT-300M is 1.26 labels an image; here 2 of 4 stay.
        serialized = schema.serialize_multilabel(
          image,
          labels=[number, number + 100, number + 200, number + 300],
          confidences=[0.9, 0.3, 0.2, 0.1],
          key=str(number),
        )
      yield writing.Record(serialized, [number + 1])

  writing.write_split(
    make_shard,
    folder,
    split='train',
    num_shards=1,
    schema=schema_name,
    num_classes=NUM_CLASSES,
    label_offset=schema.get_schema(schema_name).label_offset,
  )


def _write_tfds(folder: str, encoded: list[bytes]) -> None:
  """Writes one file as TFDS does when it prepares a data set."""
  features = tfds.features.FeaturesDict(
    {
      'image': tfds.features.Image(encoding_format='jpeg'),
      'label': tfds.features.ClassLabel(num_classes=NUM_CLASSES),
    }
  )
  data_dir = f'{folder}/photographs/1.0.0'
  tf.io.gfile.makedirs(data_dir)
  path = f'{data_dir}/photographs-train.tfrecord-00000-of-00001'
  with tf.io.TFRecordWriter(path) as writer:
    for number, image in enumerate(encoded):
      example = {'image': io.BytesIO(image), 'label': number}
      writer.write(features.serialize_example(example))
  tfds.folder_dataset.write_metadata(
    data_dir=data_dir,
    features=features,
    check_data=False,
    split_infos=[
      tfds.core.SplitInfo(
        name='train',
        shard_lengths=[len(encoded)],
        num_bytes=sum(map(len, encoded)),
        filename_template=tfds.core.ShardedFileTemplate(
          dataset_name='photographs',
          data_dir=data_dir,
          split='train',
          filetype_suffix='tfrecord',
        ),
      )
    ],
    supervised_keys=('image', 'label'),
  )


def _ours(**settings) -> tf.data.Dataset:
  """The batches of the package's own training path, on one thread."""
  data_config = config.DataConfig(
    num_classes=NUM_CLASSES,
    image_size=IMAGE_SIZE,
    batch_size=_BATCH_SIZE,
    shuffle_buffer=16,
    parallel_calls=1,
    prefetch=0,
    **settings,
  )
  return _on_one_thread(
    pipeline.make_dataset(data_config, seed=0, is_training=True)
  )


def _labels(record: tf.Tensor, *, schema_name: str) -> tf.Tensor:
  """The labels of a record, checked, without its image."""
  keys = schema.get_schema(schema_name)
  return labels.clean_labels(
    schema.parse(record, schema=schema_name),
    file=tf.constant('file'),
    record=tf.constant(0, tf.int64),
    num_classes=NUM_CLASSES,
    label_offset=keys.label_offset,
    max_labels=1 if keys.single_label else 8,
    single_label=keys.single_label,
    confidence_threshold=None if keys.single_label else 0.25,
  )


def _model_garden(path: str) -> tf.data.Dataset:
  """Model Garden's way with the same records, defaults kept."""
  decoder = classification_input.Decoder(
    image_field_key='image/encoded', label_field_key='image/class/label'
  )
  parse = classification_input.Parser(
    output_size=[IMAGE_SIZE, IMAGE_SIZE], num_classes=NUM_CLASSES + 1
  ).parse_fn(is_training=True)
  return _batched(
    tf.data.TFRecordDataset(path).repeat().shuffle(16),
    lambda record: parse(decoder.decode(record)),
  )


def _bare(encoded: tf.Tensor) -> tf.Tensor:
  """The least that training needs: a random crop, decoded and resized."""
  begin, size, _ = tf.image.sample_distorted_bounding_box(
    tf.io.extract_jpeg_shape(encoded),
    tf.zeros([1, 0, 4]),
    min_object_covered=0.0,
    area_range=(0.08, 1.0),
    max_attempts=10,
    use_image_if_no_bounding_boxes=True,
  )
  window = tf.concat([begin[:2], size[:2]], axis=0)
  image = tf.io.decode_and_crop_jpeg(encoded, window, channels=3)
  return tf.image.resize(image, [IMAGE_SIZE, IMAGE_SIZE])


def _batched(dataset: tf.data.Dataset, function) -> tf.data.Dataset:
  dataset = dataset.map(function, num_parallel_calls=1)
  return _on_one_thread(dataset.batch(_BATCH_SIZE))


def _on_one_thread(dataset: tf.data.Dataset) -> tf.data.Dataset:
  options = tf.data.Options()
  options.threading.private_threadpool_size = 1
  options.threading.max_intra_op_parallelism = 1
  options.autotune.enabled = False
  return dataset.with_options(options)
