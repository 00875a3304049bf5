"""The proximal core, and the language of methods and spaces; it needs torch alone.

Values: blocks, selections and gates (`gates`), genotypes (`genotype`). The algorithm: the
projection of alpha and the weight step (`proximal`), exact gradients of gates (`probe`), round
robin and exploration (`exploration`). Protocols: `Space`, `Method`, `Stream`.
"""
