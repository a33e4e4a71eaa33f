"""`serve` with the folders that people have: it is ready without a setting but MODEL_DIR, with Fill, and does a job.

And with folders that it must not start with: it says why, and ends. Standard library only.
"""
import json
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "integration"))
import model_files as files
from harness import Suite, equal, run_suites, wait_until
from house import House
from model_folder import Folder
from model_files import one

SERVED = [
    ("the_official_repository", files.official, "diffusion_pytorch_model"),
    ("the_official_repository_with_single_files", files.official_and_single_files, "flux1-fill-dev.safetensors|diffusion_pytorch_model"),
    ("the_cache_of_hugging_face", files.hugging_face_cache, "diffusion_pytorch_model"),
    ("comfyui_with_unet_and_clip", files.comfy, "flux1-fill-dev.safetensors"),
    ("comfyui_with_diffusion_models_and_text_encoders", lambda: files.comfy("diffusion_models", "text_encoders"), "flux1-fill-dev.safetensors"),
    ("dev_and_fill_and_lora_and_nf4_side_by_side", files.side_by_side, "flux1-fill-dev.safetensors"),
]
