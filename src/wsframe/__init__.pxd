# What other people's Cython modules cimport.

from wsframe.codec._framing_c cimport Frame, FrameParser, write_frame
from wsframe.codec._masking_c cimport write_masking_key
from wsframe.codec._utf8_c cimport Utf8Validator
