"""What the README.md of an export for TFLite or ONNX has of its own."""

from official_coatnet.export import versions
from official_coatnet.training import experiment as experiment_lib

# By what Python resizes an image as the evaluation does: what is imported, and
# how an image is opened and resized.
_BY_INTERPOLATION = {
  'bilinear': (
    'import cv2',
    "cv2.cvtColor(cv2.imread('photo.jpg'), cv2.COLOR_BGR2RGB)",
    'cv2.resize(image, (width, height))',
  ),
  'bicubic': (
    'from PIL import Image',
    "Image.open('photo.jpg').convert('RGB')",
    'np.asarray(image.resize((width, height), Image.BICUBIC))',
  ),
}


def sections(
  experiment: experiment_lib.Experiment, runtime: versions.Provenance
) -> list[str]:
  """Says what the file takes and answers, and how Python calls it.

  Args:
    experiment: What was run.
    runtime: Where the export comes from, and how its numbers differ.

  Returns:
    Sections in Markdown.
  """
  return [_input_and_output(experiment, runtime), _calls(experiment, runtime)]


def _input_and_output(experiment, runtime) -> str:
  size = ', '.join(map(str, experiment.model.height_width))
  takes = {
    'tflite': f'float32 [1, {size}, 3]',
    'onnx': f'uint8 [batch, {size}, 3], one image at least',
  }[runtime.format]
  likely = {
    'softmax': 'their softmax',
    'sigmoid': 'their sigmoid, class by class',
  }[experiment.loss.name]
  plainly = ''
  if experiment.eval_data.interpolation == 'bilinear':
    plainly = ' (without antialiasing: OpenCV does so, Pillow does not)'
  text = (
    f'`image`: {takes}; RGB from 0 to 255, cut and resized before as above'
    f'{plainly}. '
    f'`logits`: float32, one a class; the probabilities are {likely}. The name '
    'of class i is line i of `labels.txt`, counted from 0.'
  )
  if runtime.difference is not None:
    found = runtime.difference
    weights = {
      'none': '',
      'float16': ' Weights are stored in float16.',
      'int8': ' Weights are stored in 8 bits.',
    }[runtime.quantize]
    text += (
      f'{weights} On {found["images"]} images the logits differ from '
      f"TensorFlow's by {found['largest']:.2g} at most, and the likeliest "
      f'class is the same for {found["same_top1"]}.'
    )
  return f'## Input and output\n\n{text}'


def _calls(experiment, runtime) -> str:
  interpolation = experiment.eval_data.interpolation
  module, opened, resized = _BY_INTERPOLATION[interpolation]
  run = {
    'tflite': f"""    import tensorflow as tf

    interpreter = tf.lite.Interpreter('model.tflite')
    interpreter.allocate_tensors()  # It is slower without.
    run = interpreter.get_signature_runner()
    height, width = run.get_input_details()['image']['shape'][1:3]
    image = {opened}
    image = {resized}
    (logits,) = run(image=image[None].astype(np.float32))['logits']
""",
    'onnx': f"""    import onnxruntime

    session = onnxruntime.InferenceSession('model.onnx')
    height, width = session.get_inputs()[0].shape[1:3]
    image = {opened}
    image = {resized}
    ((logits,),) = session.run(['logits'], {{'image': image[None]}})
""",
  }[runtime.format]
  return f"""## Calling it

    import numpy as np
    {module}
{run}    names = open('labels.txt', encoding='utf-8').read().split('\\n')
    for i in np.argsort(-logits)[:5]:
      print(names[i], logits[i])"""
