# The path of earlier releases; ``cimport`` from ``wsframe`` instead.

from wsframe.codec._framing_c cimport Frame, FrameParser, write_frame
