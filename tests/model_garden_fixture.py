"""Records for Model Garden's three inputs, and what shrinks its experiments."""

import os

from official.vision.data import fake_feature_generator as fake
from official.vision.data import tf_example_builder
from official.vision.dataloaders import tfexample_utils

# What keeps Model Garden's heads from dominating the time of a test.
_SMALL = {
  'coatnet_imagenet': {},
  'coatnet_retinanet_coco': {
    'num_classes': 3,
    'head': {'num_convs': 1, 'num_filters': 16},
    'decoder': {'fpn': {'num_filters': 16}},
    'detection_generator': {'pre_nms_top_k': 100},
  },
  'coatnet_semantic_segmentation': {
    'num_classes': 3,
    'head': {'num_convs': 1, 'num_filters': 16},
    'decoder': {'fpn': {'num_filters': 16}},
  },
}
EXPERIMENTS = tuple(_SMALL)


def _examples(experiment: str):
  """Returns four examples in the schema of the experiment's decoder."""
  height, width = 160, 128
  if experiment == 'coatnet_imagenet':
    example = tfexample_utils.create_classification_example(
      height, width, output_serialized_example=False
    )
  elif experiment == 'coatnet_semantic_segmentation':
    example = tfexample_utils.create_segmentation_test_example(height, width, 3)
  else:
    # Not create_detection_test_example: it writes masks of floats, which
    # Pillow 13 does not take.
    builder = tf_example_builder.TfExampleBuilder()
    builder.add_image_matrix_feature(fake.generate_image_np(height, width))
    builder.add_boxes_feature(
      [0.1, 0.5], [0.4, 0.9], [0.1, 0.2], [0.5, 0.9], labels=[1, 2]
    )
    builder.add_floats_feature('image/object/area', [2458.0, 5734.0])
    builder.add_ints_feature('image/object/is_crowd', [0, 0])
    example = builder.example
  return [example] * 4


def write_records(experiment: str, folder: str) -> str:
  """Writes a file of four records for an experiment and returns its path."""
  path = os.path.join(folder, f'{experiment}.tfrecord')
  tfexample_utils.dump_to_tfrecord(path, _examples(experiment))
  return path


def overrides(experiment: str, records: str) -> dict:
  """Returns what makes two steps at 128 pixels of an experiment."""
  data = {'input_path': records, 'global_batch_size': 2}
  task = {
    'model': {
      'input_size': [128, 128, 3],
      'backbone': {'coatnet': {'name': 'coatnet_test'}},
      **_SMALL[experiment],
    },
    'train_data': {**data, 'shuffle_buffer_size': 4},
    'validation_data': dict(data),
  }
  if experiment == 'coatnet_retinanet_coco':
    task['annotation_file'] = ''
  if experiment == 'coatnet_semantic_segmentation':
    task['train_data']['output_size'] = [128, 128]
    task['validation_data']['output_size'] = [128, 128]
    task['validation_data']['groundtruth_padded_size'] = [160, 160]
  return {
    'runtime': {'mixed_precision_dtype': 'float32'},
    'trainer': {
      'train_steps': 2,
      'steps_per_loop': 1,
      'summary_interval': 1,
      'checkpoint_interval': 2,
      'validation_interval': 2,
      'validation_steps': 1,
    },
    'task': task,
  }
