"""Packaging of official_coatnet. The two locks have the tested versions."""

import pathlib
import re

from setuptools import find_packages, setup

# Read and not imported: the package wants TensorFlow.
_INIT = pathlib.Path(__file__).with_name('official_coatnet') / '__init__.py'
_VERSION = re.search(r"^__version__ = '(.+)'$", _INIT.read_text(), re.MULTILINE)

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
    # Ranges, so that the TensorFlow of a TPU VM or of a container can stay as
    # it is. Each tf-keras and tf-models-official names its own TensorFlow.
    'tensorflow>=2.15,<2.21',
    'tf-keras>=2.15,<2.21',
    'tf-models-official>=2.15,<2.21',
    # The requests that warm a server up, and those of tools/query.py.
    'tensorflow-serving-api>=2.15,<2.21',
    # They end with TensorFlow 2.15, which ends with Python 3.11.
    'tensorflow-addons; python_version < "3.12"',
    'tensorflow-datasets',
    'numpy>=1.26',
    # 11.3 has AVIF.
    'pillow>=11.3',
    'gin-config',
    'absl-py',
    # Asks about TPUs. TensorFlow 2.20 has a client of its own, which needs the
    # other two alone.
    'cloud-tpu-client; python_version < "3.12"',
    'google-api-python-client',
    'oauth2client',
  ],
  extras_require={
    # tools/tfrecords.py demo and the pictures of the demo.
    'demo': ['scikit-learn', 'matplotlib'],
    # Weights of others, and for others; newer hubs want another HTTP library.
    'weights': ['huggingface_hub>=0.34,<1', 'safetensors>=0.4', 'h5py'],
    # tools/export.py --format=onnx.
    'onnx': ['tf2onnx>=1.17', 'onnx>=1.18', 'onnxruntime>=1.20'],
    # Record building on a cluster; newer releases want another protobuf.
    'beam': ['apache-beam>=2.56,<2.60'],
    # scikit-image for the photographs of its wheel.
    'dev': ['coverage>=7.10', 'mypy', 'ruff', 'scikit-image'],
  },
)
