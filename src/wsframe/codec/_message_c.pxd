# C names that _message_c shares with other compiled modules.


cdef class Message:
    cdef readonly bytes payload
    cdef readonly tuple lengths
    cdef readonly bint fin
    cdef bint is_text
    # Whether the payload of a text message has already been validated as UTF-8.
    cdef bint is_valid


# Return an instance of bytes or of a subclass as a plain bytes object; raise TypeError for anything else.
cdef bytes plain_bytes(object data)

# Make a whole message without the cost of a Python call; the payload of a text message must be UTF-8.
cdef Message new_message(bint is_text, bytes payload)

# The message as the application receives it.
cdef object message_data(Message message)
