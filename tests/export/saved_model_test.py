import contextlib
import io
import os
import resource
from unittest import mock

import numpy as np
import onnxruntime
import tensorflow as tf
from absl.testing import parameterized
from PIL import Image
from tensorflow.core.protobuf import saved_model_pb2
from tensorflow.python.saved_model import fingerprinting_utils

from official_coatnet.analysis.runs import summary
from official_coatnet.data import device
from official_coatnet.export import (
  preprocessing,
  saved_model,
  serving,
  versions,
  warmup,
)
from official_coatnet.export.options import ExportOptions
from official_coatnet.modeling import network
from official_coatnet.training import (
  checkpoints,
  guard,
  model_dir as model_dir_lib,
)
from tests.fixtures import damage, experiments, image_files, runs


def _named(spec, name):
  return tf.TensorSpec(spec.shape, spec.dtype, name=name)


class SavedModelTest(tf.test.TestCase, parameterized.TestCase):
  def setUp(self):
    super().setUp()
    self.folder = self.create_tempdir().full_path
    self.exports = os.path.join(self.folder, 'exports')

  def _run(self, *, labels=None, ruined=(), **kwargs):
    self.experiment = experiments.make_experiment(**kwargs)
    return runs.write_run(
      os.path.join(self.folder, 'run'),
      self.experiment,
      labels=labels,
      ruined=ruined,
    )

  def _serve(self, path, encoded):
    loaded = tf.saved_model.load(path)
    signature = loaded.signatures['serving_default']
    return signature(image_bytes=tf.constant(encoded))

  def _eager_logits(self, model_dir, encoded, *, weights):
    """The network as it is trained and evaluated, without the export."""
    model = network.classifier(self.experiment.model, draw_keys=True)
    checkpoints.load_weights(model, model_dir, weights=weights)
    pixels, _ = preprocessing.decode_batch(
      tf.constant(encoded), self.experiment
    )
    inputs = {
      'image': device.normalize(pixels),
      'draw_keys': tf.zeros([len(encoded)], tf.int32),
    }
    return model(inputs, training=False)

  def test_numbers_are_those_of_the_network(self):
    model_dir = self._run(optimizer={'ema_decay': 0.9})
    encoded = list(image_files.encoded_images().values())
    logits = {}
    for weights in ('ema', 'raw'):
      path = saved_model.export(model_dir, self.exports, weights=weights)
      expected = self._eager_logits(model_dir, encoded, weights=weights)
      outputs = self._serve(path, encoded)
      self.assertAllClose(outputs['logits'], expected, rtol=1e-5, atol=1e-5)
      self.assertAllClose(
        outputs['probabilities'], tf.nn.softmax(expected), rtol=0, atol=1e-5
      )
      logits[weights] = expected
    # Weights and images make a difference; else all this would say little.
    self.assertNotAllClose(logits['ema'], logits['raw'], atol=0.1)
    self.assertGreater(np.ptp(logits['ema'].numpy(), axis=0).max(), 0.1)

  def test_images_are_prepared_as_the_experiment_says(self):
    """Mean and deviation of published checkpoints, and an image for PIL."""
    prepared = {
      'mean': (0.5, 0.4, 0.3),
      'deviation': (0.5, 0.6, 0.7),
      'interpolation': 'bicubic',
    }
    model_dir = self._run(
      train_data=prepared, eval_data={**prepared, 'center_crop': False}
    )
    steps = []
    path = saved_model.export(model_dir, self.exports, on_step=steps.append)
    self.assertEqual(steps, list(saved_model.STEPS['saved_model']))
    loaded = tf.saved_model.load(path)
    encoded = image_files.encoded_images()['rgb.png']
    picture = Image.open(io.BytesIO(encoded)).resize((32, 32), Image.BICUBIC)
    pixels = np.asarray(picture)[None]
    model = network.classifier(self.experiment.model)
    checkpoints.load_weights(model, model_dir)
    expected = model(
      (pixels / 255.0 - prepared['mean']) / prepared['deviation']
    )
    of_pixels = loaded.signatures['serving_image_tensor'](
      image=tf.constant(pixels)
    )
    self.assertAllClose(of_pixels['logits'], expected, rtol=1e-4, atol=1e-4)
    of_file = loaded.signatures['serving_default'](
      image_bytes=tf.constant([encoded])
    )
    # One level off here and there.
    self.assertAllClose(of_file['logits'], expected, rtol=0.02, atol=0.02)

  @parameterized.parameters(
    (0.9, None, None, 'ema'),
    (0.9, None, 'raw', 'raw'),
    (0.9, 'raw', None, 'raw'),
    (0.9, 'raw', 'ema', 'ema'),
    (None, None, None, 'raw'),
  )
  def test_which_weights(self, ema_decay, of_run, asked, expected):
    model_dir = self._run(
      optimizer={'ema_decay': ema_decay}, run={'weights': of_run}
    )
    stop = RuntimeError('far enough')
    with (
      mock.patch.object(saved_model, 'load_model', side_effect=stop) as load,
      self.assertRaises(RuntimeError),
    ):
      saved_model.export(model_dir, self.exports, weights=asked)
    self.assertEqual(load.call_args.kwargs['weights'], expected)

  def test_signatures_of_a_bfloat16_sigmoid_run(self):
    sizes = {'num_classes': 7}
    model_dir = self._run(
      model={'dtype': 'mixed_bfloat16', **sizes},
      train_data=sizes,
      eval_data=sizes,
      loss={'name': 'sigmoid'},
    )
    options = ExportOptions(top_k=3, threshold=0.25, batch_sizes=(1,))
    path = saved_model.export(model_dir, self.exports, options=options)
    loaded = tf.saved_model.load(path)
    text = tf.TensorSpec([None], tf.string)
    pixels = tf.TensorSpec([None, 32, 32, 3], tf.uint8)
    named = {
      'classes': (tf.string, [None, 3]),
      'scores': (tf.float32, [None, 3]),
    }
    answers = {
      **named,
      'logits': (tf.float32, [None, 7]),
      'probabilities': (tf.float32, [None, 7]),
      'labels': (tf.string, [None, None]),
      'label_scores': (tf.float32, [None, None]),
    }
    self.assertEqual(
      {
        name: (
          signature.structured_input_signature[1],
          {
            output: (spec.dtype, spec.shape.as_list())
            for output, spec in signature.structured_outputs.items()
          },
        )
        for name, signature in loaded.signatures.items()
      },
      {
        name: ({spec.name: spec}, outputs)
        for name, spec, outputs in (
          ('serving_default', _named(text, 'image_bytes'), answers),
          ('serving_image_tensor', _named(pixels, 'image'), answers),
          ('serving_tf_example', _named(text, 'examples'), answers),
          ('classify', _named(text, 'inputs'), named),
          (
            'features',
            _named(text, 'image_bytes'),
            {'features': (tf.float32, [None, 32])},
          ),
        )
      },
    )
    self._check_graph(path)
    self._check_sigmoid(loaded.signatures['serving_default'])

  def _check_graph(self, path):
    """A server of C++ has no Python operations, and training is over."""
    with open(os.path.join(path, 'saved_model.pb'), 'rb') as f:
      content = f.read()
    (meta_graph,) = saved_model_pb2.SavedModel.FromString(content).meta_graphs
    self.assertEqual(
      {
        name: signature.method_name
        for name, signature in meta_graph.signature_def.items()
        if not name.startswith('__')
      },
      {
        name: 'tensorflow/serving/classify'
        if name == 'classify'
        else 'tensorflow/serving/predict'
        for name in serving.INPUTS
      },
    )
    # It is of the file as it is, and not as it was saved first.
    fingerprint = tf.saved_model.experimental.read_fingerprint(path)
    copied = os.path.join(self.folder, 'copied')
    os.makedirs(copied)
    with open(os.path.join(copied, 'saved_model.pb'), 'wb') as f:
      f.write(content)
    fingerprinting_utils.write_fingerprint(copied)
    self.assertEqual(
      tf.saved_model.experimental.read_fingerprint(copied).saved_model_checksum,
      fingerprint.saved_model_checksum,
    )
    graph = meta_graph.graph_def
    operations = {node.op for node in graph.node}
    for function in graph.library.function:
      operations |= {node.op for node in function.node_def}
    self.assertIn('DecodeImage', operations)
    self.assertEmpty({op for op in operations if 'PyFunc' in op})

  def _check_sigmoid(self, signature):
    encoded = list(image_files.encoded_images().values())
    outputs = signature(image_bytes=tf.constant(encoded))
    logits = outputs['logits'].numpy().astype(np.float64)
    probabilities = 1 / (1 + np.exp(-logits))
    self.assertAllClose(outputs['probabilities'], probabilities, rtol=1e-5)
    self.assertGreater(np.abs(probabilities.sum(axis=-1) - 1).max(), 0.1)
    for labels, row in zip(outputs['labels'].numpy(), probabilities):
      expected = [b'%d' % i for i in np.argsort(-row) if row[i] >= 0.25]
      self.assertEqual([label for label in labels if label], expected)

  def test_class_names(self):
    labels = ['zero', 'one', 'two', 'three', 'four']
    model_dir = self._run(labels=labels)
    encoded = list(image_files.encoded_images().values())

    def check(path, expected):
      outputs = self._serve(path, encoded)
      order = np.argsort(-outputs['logits'].numpy(), axis=-1)
      names = np.array(expected)[order]
      self.assertAllEqual(outputs['classes'], names.astype(bytes))
      self.assertAllEqual(
        outputs['scores'],
        np.take_along_axis(outputs['probabilities'].numpy(), order, axis=-1),
      )

    path = saved_model.export(model_dir, self.exports)
    # As an asset, it goes where the export goes.
    moved = os.path.join(self.folder, 'moved')
    os.rename(path, moved)
    check(moved, labels)

  def test_where_class_names_come_from(self):
    model_dir = self._run(labels=['a', 'b', 'c', 'd', 'e'])

    def names(**kwargs):
      with (
        mock.patch.object(saved_model, 'load_model'),
        mock.patch.object(saved_model, '_free'),
        mock.patch.object(saved_model, '_write_papers'),
        mock.patch.object(saved_model, 'write_saved_model') as write,
      ):
        saved_model.export(model_dir, self.exports, **kwargs)
      return write.call_args.kwargs['names']

    self.assertEqual(names(), ['a', 'b', 'c', 'd', 'e'])
    others = self.create_tempfile(content='v\nw\nx\ny\nz').full_path
    self.assertEqual(names(labels=others), ['v', 'w', 'x', 'y', 'z'])
    os.remove(os.path.join(model_dir, 'labels.txt'))
    self.assertEqual(names(), ['0', '1', '2', '3', '4'])

  def test_labels_that_do_not_fit(self):
    model_dir = self._run(labels=['a', 'b'])
    with self.assertRaisesRegex(ValueError, '2 labels, and the network 5'):
      saved_model.export(model_dir, self.exports)
    self.assertFalse(os.path.exists(self.exports))

  @parameterized.parameters(None, RuntimeError('killed'))
  def test_frees_the_weights(self, error):
    models = []

    def spy(model, *args, **kwargs):
      models.append(model)
      return mock.DEFAULT

    with (
      mock.patch.object(saved_model, 'write_saved_model', side_effect=spy),
      mock.patch.object(saved_model, '_write_papers', side_effect=error),
      self.assertRaises(RuntimeError) if error else contextlib.nullcontext(),
    ):
      saved_model.export(self._run(), self.exports)
    for variable in models[0].weights:
      value = tf.raw_ops.ReadVariableOp(
        resource=variable.handle, dtype=variable.dtype
      )
      self.assertEqual(value.shape, [], variable.name)

  def test_versions(self):
    model_dir = self._run()
    with (
      mock.patch.object(saved_model, 'load_model'),
      mock.patch.object(saved_model, '_free'),
      mock.patch.object(saved_model, 'write_saved_model'),
      mock.patch.object(saved_model, '_write_papers'),
    ):
      paths = [
        saved_model.export(model_dir, self.exports, version=version)
        for version in (None, 7, None)
      ]
      with self.assertRaisesRegex(ValueError, '`version` is 7, which'):
        saved_model.export(model_dir, self.exports, version=7)
    self.assertEqual(
      paths, [os.path.join(self.exports, name) for name in ('1', '7', '8')]
    )
    self.assertEqual(versions.find_latest(self.exports), paths[-1])
    self.assertEqual(sorted(os.listdir(self.exports)), ['1', '7', '8'])

  def test_a_failure_while_saving_leaves_nothing(self):
    model_dir = self._run()
    save = tf.saved_model.save

    def save_and_fail(module, path, **kwargs):
      save(module, path, **kwargs)
      self.assertIn('saved_model.pb', os.listdir(path))
      self.assertEqual(versions.list_versions(self.exports), [])
      raise RuntimeError('killed')

    with (
      mock.patch.object(tf.saved_model, 'save', save_and_fail),
      self.assertRaisesRegex(RuntimeError, 'killed'),
    ):
      saved_model.export(model_dir, self.exports)
    self.assertEqual(os.listdir(self.exports), [])

  def test_a_disk_that_is_full(self):
    """No file may be larger: as far as a file goes, the disk is full."""
    model_dir = self._run()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
      with self.assertRaisesRegex(ValueError, 'cannot be written to .*exports'):
        saved_model.export(model_dir, self.exports)
    finally:
      resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    self.assertEqual(os.listdir(self.exports), [])

  def test_files(self):
    model_dir = self._run()
    with open(os.path.join(model_dir, 'config.gin'), 'w') as f:
      f.write('# As it was set.\n')
    options = ExportOptions(batch_sizes=(1, 2), stage_maps=True)
    path = saved_model.export(
      model_dir, self.exports, options=options, licence='CC0'
    )
    found = {
      os.path.relpath(os.path.join(top, name), path)
      for top, _, names in os.walk(path)
      for name in names
    }
    self.assertEqual(
      found,
      {
        'saved_model.pb',
        'fingerprint.pb',
        'variables/variables.index',
        'variables/variables.data-00000-of-00001',
        'assets/labels.txt',
        'assets.extra/tf_serving_warmup_requests',
        'config.gin',
        'experiment.json',
        'export.json',
        'README.md',
      },
    )
    self.assertEqual(model_dir_lib.read_experiment(path), self.experiment)
    self.assertEqual(
      versions.read_provenance(path),
      versions.Provenance(
        model_dir=model_dir,
        checkpoint='ckpt-4',
        weights='raw',
        folded=True,
        options=options,
        own_labels=True,
      ),
    )
    with open(os.path.join(path, 'README.md')) as f:
      card = f.read()
    self.assertIn('CC0', card)
    params = summary.summarize_model(self.experiment.model)['params']
    self.assertIn(f'| Parameters | {params:,} |', card)
    self.assertLen(warmup.read_requests(path), 2 * 5)
    self._check_features(path, model_dir)

  def _check_features(self, path, model_dir):
    """Against the backbone, which is built on its own."""
    encoded = list(image_files.encoded_images().values())
    loaded = tf.saved_model.load(path)
    outputs = loaded.signatures['features'](image_bytes=tf.constant(encoded))
    backbone = network.backbone(self.experiment.model)
    stored = checkpoints.StoredWeights(model_dir)
    for name, variable in checkpoints.named_weights(backbone).items():
      variable.assign(stored.read(name))
    pixels, _ = preprocessing.decode_batch(
      tf.constant(encoded), self.experiment
    )
    maps = backbone(device.normalize(pixels), training=False)
    self.assertLen(outputs, 6)
    for stage, level in enumerate('12345'):
      self.assertAllClose(
        outputs[f's{stage}'], maps[level], rtol=1e-4, atol=1e-4
      )
    # The last layer makes the logits of the features.
    logits = outputs['features'] @ stored.read('logits/kernel')
    expected = loaded.signatures['serving_default'](
      image_bytes=tf.constant(encoded)
    )['logits']
    self.assertAllClose(
      logits + stored.read('logits/bias'), expected, rtol=1e-5, atol=1e-5
    )

  def test_what_stands_in_the_way_is_said(self):
    with self.assertRaisesRegex(FileNotFoundError, 'is not the model_dir'):
      saved_model.export(self.folder, self.exports)
    model_dir = self._run()
    with self.assertRaisesRegex(ValueError, '`weights` is "ema", but'):
      saved_model.export(model_dir, self.exports, weights='ema')
    with self.assertRaisesRegex(ValueError, "`weights` is 'mean'; it must be"):
      saved_model.export(model_dir, self.exports, weights='mean')
    file = self.create_tempfile('file').full_path
    with self.assertRaisesRegex(ValueError, '`export_dir` is .*/file/x'):
      saved_model.export(model_dir, os.path.join(file, 'x'))
    with self.assertRaisesRegex(ValueError, 'no checkpoint of step 3; .*: 4.'):
      saved_model.export(model_dir, self.exports, checkpoint_step=3)
    damage.OF_CHECKPOINT['data cut'](model_dir, 4)
    with self.assertRaisesRegex(ValueError, 'none can be used: .*ckpt-4'):
      saved_model.export(model_dir, self.exports)
    for name in os.listdir(model_dir):
      if name.startswith(('ckpt', 'checkpoint')):
        os.remove(os.path.join(model_dir, name))
    with self.assertRaisesRegex(ValueError, 'No checkpoint in .*Train first'):
      saved_model.export(model_dir, self.exports)
    with open(os.path.join(model_dir, 'experiment.json'), 'w') as f:
      f.write('{"model": {"nam')
    with self.assertRaisesRegex(ValueError, 'experiment.json cannot be read'):
      saved_model.export(model_dir, self.exports)
    self.assertFalse(os.path.exists(self.exports))

  def test_weights_that_are_not_finite(self):
    ruined = ('s0/conv0/kernel', 'logits/bias')
    model_dir = self._run(optimizer={'ema_decay': 0.9}, ruined=ruined)
    for file_format in ('saved_model', 'tflite', 'onnx'):
      with self.assertRaisesRegex(
        guard.NonFiniteWeightsError,
        r"No export is made of the checkpoint '.*ckpt-4' \(ema\).* in "
        'logits/bias, s0/conv0/kernel. Take an earlier',
      ):
        saved_model.export(model_dir, self.exports, file_format=file_format)
    self.assertFalse(os.path.exists(self.exports))

  def test_a_checkpoint_of_another_network_does_not_fit(self):
    model_dir = self._run()
    other = experiments.make_experiment(model={'widths': (16, 16, 16, 32, 64)})
    model_dir_lib.write_experiment(model_dir, other)
    with self.assertRaisesRegex(ValueError, 'does not fit the network'):
      saved_model.export(model_dir, self.exports)
    self.assertEqual(os.listdir(self.exports), [])

  def test_requests_put_together(self):
    """As TF Serving does it: one after the other, and filled up by a row."""
    path = saved_model.export(self._run(), self.exports)
    encoded = list(image_files.encoded_images().values())[:5]
    alone = [self._serve(path, [image])['logits'][0] for image in encoded]
    signature = tf.saved_model.load(path).signatures['serving_default']
    for rows in (encoded, encoded[:2], [*encoded, *[encoded[3]] * 3]):
      logits = signature(image_bytes=tf.constant(rows))['logits']
      count = min(len(rows), 5)
      self.assertAllClose(logits[:count], alone[:count], rtol=1e-5, atol=1e-5)
    # Without allowed sizes an empty request is not filled up.
    outputs = signature(image_bytes=tf.constant([], tf.string))
    self.assertEqual({len(value) for value in outputs.values()}, {0})

  def test_for_another_runtime(self):
    model_dir = self._run(labels=['v', 'w', 'x', 'y', 'z'])
    steps = []
    path = saved_model.export(
      model_dir, self.exports, file_format='onnx', on_step=steps.append
    )
    self.assertEqual(steps, list(saved_model.STEPS['onnx']))
    self.assertEqual(path, os.path.join(self.exports, '1'))
    self.assertEqual(
      set(os.listdir(path)),
      {'model.onnx', 'labels.txt', 'export.json', 'experiment.json'}
      | {'README.md'},
    )
    with open(os.path.join(path, 'labels.txt')) as f:
      self.assertEqual(f.read(), 'v\nw\nx\ny\nz\n')
    provenance = versions.read_provenance(path)
    self.assertEqual((provenance.format, provenance.quantize), ('onnx', 'none'))
    self.assertEqual(provenance.difference['images'], 16)
    self.assertEqual(provenance.difference['same_top1'], 16)
    self.assertLess(provenance.difference['relative'], 1e-5)
    # Against the network as it is evaluated, from an encoded image on.
    encoded = list(image_files.encoded_images().values())
    pixels, _ = preprocessing.decode_batch(
      tf.constant(encoded), self.experiment
    )
    session = onnxruntime.InferenceSession(os.path.join(path, 'model.onnx'))
    (logits,) = session.run(None, {'image': pixels.numpy()})
    expected = self._eager_logits(model_dir, encoded, weights='raw')
    self.assertAllClose(logits, expected, rtol=1e-5, atol=1e-5)
    with self.assertRaisesRegex(ValueError, 'has versions of the format onnx'):
      saved_model.export(model_dir, self.exports)

  def test_no_export_needs_xla(self):
    experiment = experiments.make_experiment(model={'implementation': 'cpu'})
    folder = runs.write_run(
      os.path.join(self.create_tempdir().full_path, 'run'), experiment
    )
    for fold, expected in ((True, 'onednn'), (False, 'reference')):
      model = saved_model.load_model(experiment, folder, fold=fold)
      blocks = [each for each in model.layers if hasattr(each, 'expansion')]
      names = {each.implementation.name for each in blocks}
      self.assertEqual(names, {expected})


if __name__ == '__main__':
  tf.test.main()
