# C names that _events_c shares with other compiled modules.


cdef class Message:
    cdef readonly bytes payload
    cdef readonly tuple lengths
    cdef readonly bint fin
    cdef bint is_text


# Make a whole message without the cost of a call.
cdef Message new_message(bint is_text, bytes payload)

# The message as the application wants it.
cdef object message_data(Message message)
