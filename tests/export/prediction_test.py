import io
import json
import os
import shutil

import tensorflow as tf
from absl.testing import absltest
from PIL import ExifTags, Image

from official_coatnet.export import prediction, saved_model
from official_coatnet.export.options import ExportOptions
from tests.fixtures import predictions


class PredictionTest(predictions.PredictionsTestCase):
  def test_top_k(self):
    encoded = self.encoded['rgb.png']
    file = self.write('rgb.png', encoded)
    # With and without what the signature itself calls the top.
    for top_k in (1, 5, 6, 100):
      predictor = prediction.Predictor(self.path, top_k=top_k)
      (result,) = prediction.predict_batch(predictor, [file])
      self.check(
        'rgb.png',
        result['predictions'],
        top_k=min(top_k, len(predictions.LABELS)),
      )

  def test_an_export_that_answers_bad_images(self):
    """What it cannot say, the tool finds out: the same errors come out."""
    jpeg = self.encoded['rgb.jpg']
    files = [
      self.write('rgb.jpg', jpeg),
      self.write('cut.jpg', jpeg[: len(jpeg) // 2]),
      self.write('grey.png', self.encoded['grey.png']),
      self.write('notes.txt', b'no image'),
    ]
    path = saved_model.export(
      self.run_dir,
      os.path.join(self.folder, 'exports'),
      options=ExportOptions(
        answer_bad_images=True, max_pixels=64 * 64, batch_sizes=(1,)
      ),
    )
    predictor = prediction.Predictor(path, top_k=5)
    large, cut, good, text = prediction.predict_batch(predictor, files)
    self.assertEqual(
      large['error'], 'The image has 4800 pixels, more than 4096.'
    )
    self.assertIn('pixels, more than 4096', cut['error'])
    self.assertEqual(text['error'], 'no image of a known format')
    self.check('grey.png', good['predictions'], top_k=5)

  def test_formats_that_the_graph_does_not_decode(self):
    """They have the classes of the same pixels as a PNG."""
    jpeg = self.encoded['rgb.jpg']
    picture = Image.open(io.BytesIO(self.encoded['rgb.png']))
    contents = {'notes.txt': b'<html>'}
    for name in ('WEBP', 'TIFF', 'PPM', 'TGA'):
      buffer = io.BytesIO()
      picture.save(
        buffer, name, **({'lossless': True} if name == 'WEBP' else {})
      )
      contents[f'x.{name.lower()}'] = buffer.getvalue()
    contents['rgb.jpg'] = jpeg
    predictor = prediction.Predictor(self.path, top_k=5)
    bad, *good, last = prediction.predict_batch(
      predictor, [self.write(*item) for item in contents.items()]
    )
    self.assertEqual(bad['error'], 'no image of a known format')
    for result in good:
      self.check('rgb.png', result['predictions'], top_k=5)
    self.check('rgb.jpg', last['predictions'], top_k=5)
    # Whoever has the bytes in hand, too.
    (called,) = predictor([contents['x.tiff']])
    self.check('rgb.png', called, top_k=5)
    with self.assertRaisesRegex(ValueError, 'no image of a known format'):
      predictor([b'text'])

  def test_orientation_is_that_of_the_training(self):
    path = os.path.join(self.folder, 'export')
    shutil.copytree(self.path, path)
    data = os.path.join(path, 'data.json')
    picture = Image.open(io.BytesIO(self.encoded['rgb.png']))
    # What lies on its side is turned back.
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    buffer = io.BytesIO()
    picture.transpose(Image.Transpose.ROTATE_90).save(buffer, 'PNG', exif=exif)
    file = self.write('side.png', buffer.getvalue())

    def predict(**options):
      predictor = prediction.Predictor(path, top_k=5, **options)
      (result,) = prediction.predict_batch(predictor, [file])
      return result['predictions']

    if os.path.exists(data):
      os.remove(data)
    lying = predict()
    for value in (False, True):
      with open(data, 'w', encoding='utf-8') as f:
        json.dump({'train': {'exif_orientation': value}}, f)
      for options, turned in (
        ({}, value),
        ({'exif_orientation': True}, True),
        ({'exif_orientation': False}, False),
      ):
        found = predict(**options)
        if turned:
          self.check('rgb.png', found, top_k=5)
        else:
          self.assertEqual(found, lying)
    self.assertNotEqual(lying, predict())

  def test_the_latest_version_is_taken(self):
    predictor = prediction.Predictor(self.exports, top_k=1)
    self.assertEqual(predictor.path, self.path)

  def test_says_what_is_no_export(self):
    with self.assertRaisesRegex(ValueError, 'No export in '):
      prediction.Predictor(self.folder, top_k=1)
    self.write('saved_model.pb', b'damaged')
    with self.assertRaisesRegex(
      ValueError, 'cannot be loaded: its files are damaged'
    ):
      prediction.Predictor(self.folder, top_k=1)

    other = os.path.join(self.create_tempdir().full_path, 'other')
    module = tf.Module()
    module.f = tf.function(
      lambda image_bytes: {'y': tf.strings.length(image_bytes)},
      input_signature=[tf.TensorSpec([None], tf.string)],
    )
    tf.saved_model.save(module, other, signatures=module.f)
    with self.assertRaisesRegex(ValueError, 'has no output .*probabilities'):
      prediction.Predictor(other, top_k=1)

  def test_files_folders_and_patterns(self):
    a, b, c = (self.write(n, b'') for n in ('b/1.jpg', 'b/2.jpg', 'a/3.png'))
    os.makedirs(empty := os.path.join(self.folder, 'empty'))
    find, join = prediction.find_files, os.path.join
    self.assertEqual(find([self.folder]), [c, a, b])
    self.assertEqual(find([b, join(self.folder, 'a')]), [b, c])
    self.assertEqual(find([join(self.folder, '*', '*.jpg')]), [a, b])
    self.assertEqual(find([join(self.folder, '**', '*.png')]), [c])
    self.assertEqual(find([join(self.folder, '[a]')]), [c])
    # Nothing is passed over in silence.
    self.assertEqual(find([empty, '*.none']), [empty, '*.none'])

  def test_a_name_with_the_signs_of_a_pattern_is_a_name(self):
    file = self.write('x[1].jpg', b'')
    self.assertEqual(prediction.find_files([file]), [file])


if __name__ == '__main__':
  absltest.main()
