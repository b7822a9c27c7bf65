# C names that _events_c shares with other compiled modules.


cdef class Message:
    cdef readonly bytes payload
    cdef readonly tuple lengths
    cdef readonly bint fin
    cdef bint is_text
    # Whether the payload of a text is known to be UTF-8.
    cdef bint is_valid


# The bytes of a bytes object or of an instance of a subclass, as a bytes object; anything else is a TypeError.
cdef bytes plain_bytes(object data)

# Make a whole message without the cost of a call; the payload of a text is UTF-8.
cdef Message new_message(bint is_text, bytes payload)

# The message as the application wants it.
cdef object message_data(Message message)
