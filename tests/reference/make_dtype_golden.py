#!/usr/bin/env python3
"""Random blocks of every GGUF number format and what gguf's Python package reads in them.

    python tests/reference/make_dtype_golden.py > tests/data/format/dtypes.json
"""
import json
import sys

import gguf
import numpy as np

TYPES = ["F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K",
         "IQ4_NL", "IQ4_XS"]
# Where a block keeps its float16 scales, which must be finite numbers.
SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208], "IQ4_NL": [0], "IQ4_XS": [0]}


def main():
    rng = np.random.default_rng(3)
    out = []
    for name in TYPES:
        t = gguf.GGMLQuantizationType[name]
        values, size = gguf.GGML_QUANT_SIZES[t]
        n = 4 if values > 1 else 64
        raw = rng.integers(0, 256, (n, size), dtype=np.uint8)
        for i in range(n):
            for at in SCALES.get(name, []):
                scale = np.float16([0.0371, -1.5, 6e-8, 11.0][i % 4])
                raw[i, at:at + 2] = np.frombuffer(scale.tobytes(), np.uint8)
        if values == 1:  # plain numbers: no infinities and NaNs
            raw[:, 1] &= 0x7B if name == "F16" else 0x7E
        flat = raw.reshape(1, -1)
        want = gguf.quants.dequantize(flat, t).astype(np.float32).reshape(-1)
        out.append({"type": name, "raw": flat.tobytes().hex(), "values": want.astype("<f4").tobytes().hex()})
    json.dump(out, sys.stdout, indent=0)
    print()


if __name__ == "__main__":
    main()
