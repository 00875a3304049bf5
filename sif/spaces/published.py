"""Published cells, as their authors' repositories print them."""

from __future__ import annotations

from sif.spaces.cells import Cells, parse_cells

_TEXTS = {
    # NASNet-A (Zoph et al., CVPR 2018) and AmoebaNet-A (Real et al., AAAI 2019), from
    # genotypes.py of quark0/darts and, with its own names, of xujinfan/NASP-codes.
    "nasnet-a": """Genotype(
        normal=[('sep_5x5', 1), ('sep_3x3', 0), ('sep_5x5', 0), ('sep_3x3', 0),
                ('avg_pool_3x3', 1), ('skip_connect', 0), ('avg_pool_3x3', 0),
                ('avg_pool_3x3', 0), ('sep_3x3', 1), ('skip_connect', 1)],
        normal_concat=[2, 3, 4, 5, 6],
        reduce=[('sep_5x5', 1), ('sep_7x7', 0), ('max_pool_3x3', 1), ('sep_7x7', 0),
                ('avg_pool_3x3', 1), ('sep_5x5', 0), ('skip_connect', 3), ('avg_pool_3x3', 2),
                ('sep_3x3', 2), ('max_pool_3x3', 1)],
        reduce_concat=[4, 5, 6])""",
    "amoebanet-a": """Genotype(
        normal=[('avg_pool_3x3', 0), ('max_pool_3x3', 1), ('sep_3x3', 0), ('sep_5x5', 2),
                ('sep_3x3', 0), ('avg_pool_3x3', 3), ('sep_3x3', 1), ('skip_connect', 1),
                ('skip_connect', 0), ('avg_pool_3x3', 1)],
        normal_concat=[4, 5, 6],
        reduce=[('avg_pool_3x3', 0), ('sep_3x3', 1), ('max_pool_3x3', 0), ('sep_7x7', 2),
                ('sep_7x7', 0), ('avg_pool_3x3', 1), ('max_pool_3x3', 0), ('max_pool_3x3', 1),
                ('conv_7x1_1x7', 0), ('sep_3x3', 5)],
        reduce_concat=[3, 4, 6])""",
    # DARTS (Liu et al., ICLR 2019), first and second order, from genotypes.py of quark0/darts.
    "darts-v1": """Genotype(
        normal=[('sep_conv_3x3', 1), ('sep_conv_3x3', 0), ('skip_connect', 0),
                ('sep_conv_3x3', 1), ('skip_connect', 0), ('sep_conv_3x3', 1),
                ('sep_conv_3x3', 0), ('skip_connect', 2)],
        normal_concat=[2, 3, 4, 5],
        reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2),
                ('max_pool_3x3', 0), ('max_pool_3x3', 0), ('skip_connect', 2),
                ('skip_connect', 2), ('avg_pool_3x3', 0)],
        reduce_concat=[2, 3, 4, 5])""",
    "darts-v2": """Genotype(
        normal=[('sep_conv_3x3', 0), ('sep_conv_3x3', 1), ('sep_conv_3x3', 0),
                ('sep_conv_3x3', 1), ('sep_conv_3x3', 1), ('skip_connect', 0),
                ('skip_connect', 0), ('dil_conv_3x3', 2)],
        normal_concat=[2, 3, 4, 5],
        reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2),
                ('max_pool_3x3', 1), ('max_pool_3x3', 0), ('skip_connect', 2),
                ('skip_connect', 2), ('max_pool_3x3', 1)],
        reduce_concat=[2, 3, 4, 5])""",
    # NASP, 12 operations (Yao et al., AAAI 2020), from genotypes.py of xujinfan/NASP-codes.
    "nasp": """Genotype(
        normal=[('conv_3x1_1x3', 0), ('conv 3x3', 1), ('dil_conv_3x3', 2), ('conv 3x3', 1),
                ('dil_conv_3x3', 2), ('conv 3x3', 0), ('skip_connect', 0), ('dil_conv_3x3', 3)],
        normal_concat=range(2, 6),
        reduce=[('max_pool_3x3', 0), ('max_pool_3x3', 1), ('skip_connect', 2),
                ('max_pool_5x5', 1), ('skip_connect', 2), ('skip_connect', 3),
                ('skip_connect', 0), ('skip_connect', 1)],
        reduce_concat=range(2, 6))""",
}
PUBLISHED: dict[str, Cells] = {name: parse_cells(text, name) for name, text in _TEXTS.items()}
