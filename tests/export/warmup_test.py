import os
import sys
from unittest import mock

import numpy as np
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from official_coatnet.export import serving, versions, warmup
from official_coatnet.export.options import ExportOptions


class WarmupTest(tf.test.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.file = os.path.join(self.folder, versions.WARMUP_FILE)
    options = ExportOptions(batch_sizes=(1, 3))
    warmup.write_requests(self.folder, options, height=20, width=30)

  def test_every_signature_and_size(self):
    self.assertEndsWith(self.file, '/assets.extra/tf_serving_warmup_requests')
    requests = warmup.read_requests(self.folder)
    self.assertEqual(
      [(signature, name, len(value)) for signature, name, value in requests],
      [(s, n, size) for size in (1, 3) for s, n in serving.INPUTS.items()],
    )
    for signature, _, value in requests:
      if signature == 'serving_image_tensor':
        self.assertAllEqual(value, np.full([len(value), 20, 30, 3], 128))
        self.assertEqual(value.dtype, tf.uint8)
        continue
      for row in value.numpy():
        if signature in serving.TAKE_EXAMPLES:
          features = tf.train.Example.FromString(row).features.feature
          row = features['image/encoded'].bytes_list.value[0]
        self.assertEqual(tf.io.decode_jpeg(row).shape, [20, 30, 3])

  def test_missing_library(self):
    with mock.patch.dict(sys.modules, {'tensorflow_serving': None}):
      for call in (
        warmup.check_library,
        lambda: warmup.read_requests(self.folder),
      ):
        with self.assertRaisesRegex(
          ImportError,
          r'^An export, for the requests that warm a server up, takes the '
          r'package tensorflow_serving, .*`pip install '
          r'"official_coatnet\[serving\]"`\.$',
        ):
          call()

  def test_records_are_what_a_server_parses(self):
    """Their place in the protocol, by the names that TF Serving reads."""
    logs = [
      prediction_log_pb2.PredictionLog.FromString(record.numpy())
      for record in tf.data.TFRecordDataset(self.file)
    ]
    self.assertLen(logs, 10)
    for log in logs:
      if log.HasField('classify_log'):
        request = log.classify_log.request
        self.assertEqual(request.model_spec.signature_name, 'classify')
        self.assertNotEmpty(request.input.example_list.examples)
      else:
        request = log.predict_log.request
        ((name, tensor),) = request.inputs.items()
        signature = request.model_spec.signature_name
        self.assertEqual(name, serving.INPUTS[signature])
        # What is the same throughout is not repeated.
        if signature == 'serving_image_tensor':
          self.assertLess(tensor.ByteSize(), 100)

  def test_damage(self):
    with open(self.file, 'rb') as f:
      content = f.read()
    for damaged in (content[:-5], content[:50] + b'x' + content[51:]):
      with open(self.file, 'wb') as f:
        f.write(damaged)
      with self.assertRaisesRegex(ValueError, 'warm-up requests .* cannot be'):
        warmup.read_requests(self.folder)
    with tf.io.TFRecordWriter(self.file) as writer:
      writer.write(b'\xff\xff')
    with self.assertRaisesRegex(ValueError, 'warm-up requests .* cannot be'):
      warmup.read_requests(self.folder)
    with tf.io.TFRecordWriter(self.file) as writer:
      log = prediction_log_pb2.PredictionLog()
      log.regress_log.request.model_spec.signature_name = 'x'
      writer.write(log.SerializeToString())
    with self.assertRaisesRegex(ValueError, "but 'regress_log'"):
      warmup.read_requests(self.folder)
    os.remove(self.file)
    with self.assertRaisesRegex(ValueError, 'warm-up requests .* cannot be'):
      warmup.read_requests(self.folder)


if __name__ == '__main__':
  tf.test.main()
