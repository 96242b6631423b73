"""Packaging of official_coatnet. The two locks have the tested versions."""

import importlib.metadata
import pathlib
import re
import site
import sysconfig

from setuptools import find_packages, setup

# Read and not imported: the package wants TensorFlow.
_INIT = pathlib.Path(__file__).with_name('official_coatnet') / '__init__.py'
_VERSION = re.search(r"^__version__ = '(.+)'$", _INIT.read_text(), re.MULTILINE)


def _own_tensorflow():
  """Version of the TensorFlow that is installed, or ''.

  pip would exchange it for the newest that will do, as soon as another
  package names that one. Of a TPU VM or a container it is to stay. pip runs
  this file in an environment of its own, so the folders are named.
  """
  folders = [*map(sysconfig.get_path, ('purelib', 'platlib'))]
  folders.append(site.getusersitepackages())
  for found in importlib.metadata.distributions(path=folders):
    if found.metadata['Name'] == 'tensorflow':
      return found.version
  return ''


def tensorflow_packages(own):
  """Returns the TensorFlow that is installed, and what only some have.

  Args:
    own: Version of one that is to stay, or '': by the version of Python it is
      that of a stack then.
  """
  if re.match(r'2\.(16|17|18|19|20)\.', own):
    return [f'tensorflow=={own}']
  chosen = 'tensorflow<2.16; python_version < "3.12"'
  if own.startswith('2.15.'):
    chosen = f'tensorflow=={own}'
  # The other ends with TensorFlow 2.15.
  return [chosen, 'tensorflow-addons; python_version < "3.12"']


setup(
  name='official_coatnet',
  version=_VERSION.group(1),
  description='CoAtNet (arXiv:2106.04803) for TensorFlow 2',
  license='Apache-2.0',
  # By name: gin/ holds data only, and as a package it would hide gin-config.
  packages=find_packages(include=['official_coatnet*']),
  package_data={'official_coatnet.pretrained': ['class_names/*.txt']},
  python_requires='>=3.10',
  install_requires=[
    'tensorflow>=2.15,<2.21',
    *tensorflow_packages(_own_tensorflow()),
    # Each names its own TensorFlow.
    'tf-keras>=2.15,<2.21',
    'tf-models-official>=2.15,<2.21',
    # It comes with TensorFlow; its hparams are imported here.
    'tensorboard',
    'tensorflow-datasets',
    # tf-models-official calls it as 2.4 does not let it.
    'numpy>=1.26,<2.4',
    # Checksums of records.
    'google-crc32c>=1.5',
    # Those that came with others, and are imported here.
    'protobuf',
    'pyyaml',
    'scipy',
    # 11.3 has AVIF.
    'pillow>=11.3',
    'gin-config',
    'absl-py',
    # How the tools draw what they do.
    'rich>=13',
    # With these TensorFlow asks about TPUs.
    'google-api-core',
    'google-api-python-client',
    'google-auth',
    'oauth2client',
  ],
  extras_require={
    # tools/export.py and verify_export.py, for the requests that warm a server
    # up, and gRPC of tools/query.py.
    'serving': ['tensorflow-serving-api>=2.14.1,<2.21', 'grpcio'],
    # What the preflight asks about queued resources and newer generations. The
    # other client, of TensorFlow 2.15, keeps pip from any that knows of them.
    'tpu': [
      'google-cloud-tpu>=1.23; python_version >= "3.12"',
      'cloud-tpu-client; python_version < "3.12"',
    ],
    # tools/tfrecords.py demo and the pictures of the demo.
    'demo': ['scikit-learn', 'matplotlib'],
    # tools/report.py --html: figures, and the model card as HTML.
    'report': ['bokeh>=3.7', 'markdown>=3.5'],
    # RunConfig.trackers.
    'wandb': ['wandb>=0.19'],
    'mlflow': ['mlflow-skinny>=2.20'],
    # Weights of others, and for others; newer hubs want another HTTP library.
    'weights': ['huggingface_hub>=0.34,<1', 'safetensors>=0.4', 'h5py'],
    # tools/export.py --format=onnx.
    'onnx': ['tf2onnx>=1.17', 'onnx>=1.18', 'onnxruntime>=1.20'],
    # Record building on a cluster; newer releases want another protobuf.
    'beam': ['apache-beam>=2.56,<2.60'],
    # docs/notebooks, with `demo`.
    'notebooks': ['ipykernel', 'nbclient', 'nbformat'],
    # `make docs`: the site.
    'docs': ['mkdocs-material>=9.6', 'mkdocstrings-python>=1.16'],
    # scikit-image for the photographs of its wheel.
    'dev': ['coverage>=7.10', 'mypy', 'ruff', 'scikit-image'],
  },
)
