/* A WebSocket echo server on epoll that does as little as an echo can: what the system itself costs.
 *
 * It answers all messages of a read in one write. It trusts its clients: no limits, no checks, no fragments
 * (a fragment goes back as it came). Linux only.
 *
 *   echo_server [broadcast]
 *
 * Prints its port, and ends with its standard input. With broadcast, a message goes to all connections.
 */
#include <malloc.h>
#include <signal.h>
#include <stdint.h>
#include <sys/epoll.h>

#include "stream.h"
#include "unmask.h"

enum { READ_SIZE = 1 << 18, HEADER_MAX = 10, KEY_SIZE = 4, LARGE = 1 << 16, MEMORY_KEPT = 1 << 25, SHA1_SIZE = 20 };
enum { OP_CLOSE = 8, OP_PING = 9, OP_PONG = 10 };

struct connection {
    int fd;
    int open;           /* the handshake is done */
    long index;         /* place in the list of all */
    unsigned char *in;  /* what has come of a frame, or of the request; NULL if nothing */
    size_t in_size;     /* bytes of it */
    size_t in_needed;   /* its size once complete, if it is large and known; 0 otherwise */
    unsigned char *out; /* what the kernel would not take yet; NULL if nothing */
    size_t out_size, out_done;
};

static int events_fd, broadcasts;
static struct connection **all;
static long count, room;
static unsigned char input[READ_SIZE], output[READ_SIZE + HEADER_MAX];

static void *get_memory(void *old, size_t size)
{
    void *memory = realloc(old, size);
    if (!memory) fail("too little memory");
    return memory;
}

static uint32_t rotate(uint32_t value, int bits)
{
    return value << bits | value >> (32 - bits);
}

/* SHA-1 (FIPS 180-4) of at most 119 bytes, which is more than a key and its GUID have. */
static void sha1(const char *text, size_t size, unsigned char digest[SHA1_SIZE])
{
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    unsigned char padded[128] = {0};
    size_t total = size + 9 <= 64 ? 64 : 128;
    memcpy(padded, text, size);
    padded[size] = 0x80;
    padded[total - 2] = (unsigned char)(size * 8 >> 8);
    padded[total - 1] = (unsigned char)(size * 8);
    for (size_t at = 0; at < total; at += 64) {
        uint32_t w[80], v[5];
        for (int i = 0; i < 16; i++) {
            const unsigned char *p = padded + at + 4 * i;
            w[i] = (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
        }
        for (int i = 16; i < 80; i++) w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
        memcpy(v, h, sizeof v);
        for (int i = 0; i < 80; i++) {
            uint32_t f = i < 20   ? (v[1] & v[2]) | (~v[1] & v[3])
                         : i < 40 ? v[1] ^ v[2] ^ v[3]
                         : i < 60 ? (v[1] & v[2]) | (v[1] & v[3]) | (v[2] & v[3])
                                  : v[1] ^ v[2] ^ v[3];
            uint32_t k = i < 20 ? 0x5A827999 : i < 40 ? 0x6ED9EBA1 : i < 60 ? 0x8F1BBCDC : 0xCA62C1D6;
            uint32_t next = rotate(v[0], 5) + f + v[4] + k + w[i];
            v[4] = v[3];
            v[3] = v[2];
            v[2] = rotate(v[1], 30);
            v[1] = v[0];
            v[0] = next;
        }
        for (int i = 0; i < 5; i++) h[i] += v[i];
    }
    for (int i = 0; i < SHA1_SIZE; i++) digest[i] = (unsigned char)(h[i / 4] >> (24 - 8 * (i % 4)));
}

static void base64(const unsigned char *data, size_t size, char *text)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (size_t i = 0; i < size; i += 3) {
        uint32_t three = (uint32_t)data[i] << 16;
        if (i + 1 < size) three |= (uint32_t)data[i + 1] << 8;
        if (i + 2 < size) three |= data[i + 2];
        for (int j = 0; j < 4; j++) *text++ = i + (size_t)j > size ? '=' : letters[three >> (18 - 6 * j) & 63];
    }
    *text = 0;
}

static void drop(struct connection *c)
{
    all[c->index] = all[--count];
    all[c->index]->index = c->index;
    close(c->fd);
    free(c->in);
    free(c->out);
    free(c);
}

static void watch(struct connection *c, uint32_t what, int operation)
{
    struct epoll_event event = {.events = what, .data.ptr = c};
    epoll_ctl(events_fd, operation, c->fd, &event);
}

/* Send; what the kernel does not take is kept, and nothing is read until it has. */
static void put(struct connection *c, const unsigned char *data, size_t size)
{
    ssize_t n = c->out ? 0 : write(c->fd, data, size);
    /* A peer that is gone is noticed when reading. */
    if (n < 0) n = errno == EAGAIN ? 0 : (ssize_t)size;
    if ((size_t)n == size) return;
    if (!c->out) watch(c, EPOLLOUT, EPOLL_CTL_MOD);
    c->out = get_memory(c->out, c->out_size + size - (size_t)n);
    memcpy(c->out + c->out_size, data + n, size - (size_t)n);
    c->out_size += size - (size_t)n;
}

static void put_more(struct connection *c)
{
    ssize_t n = write(c->fd, c->out + c->out_done, c->out_size - c->out_done);
    if (n > 0) c->out_done += (size_t)n;
    if (c->out_done < c->out_size && (n > 0 || errno == EAGAIN)) return;
    free(c->out);
    c->out = NULL;
    c->out_size = c->out_done = 0;
    watch(c, EPOLLIN, EPOLL_CTL_MOD);
}

static size_t put_header(unsigned char *to, unsigned char first, uint64_t length)
{
    size_t extra = length < 126 ? 0 : length < 65536 ? 2 : 8;
    to[0] = (first & 0x0F) == OP_PING ? (unsigned char)((first & 0xF0) | OP_PONG) : first;
    to[1] = extra == 0 ? (unsigned char)length : extra == 2 ? 126 : 127;
    for (size_t i = 0; i < extra; i++) to[2 + i] = (unsigned char)(length >> (8 * (extra - 1 - i)));
    return 2 + extra;
}

/* Size of the frame that starts here, 0 if its header is not all there; sets where the key stands. */
static uint64_t frame_size(const unsigned char *data, size_t size, size_t *key_at)
{
    if (size < 2) return 0;
    uint64_t length = data[1] & 0x7F;
    size_t extra = length < 126 ? 0 : length == 126 ? 2 : 8;
    *key_at = 2 + extra;
    if (size < *key_at + KEY_SIZE) return 0;
    if (extra) length = 0;
    for (size_t i = 0; i < extra; i++) length = length << 8 | data[2 + i];
    return *key_at + KEY_SIZE + length;
}

/* Answer the whole frames; return the bytes they had, or -1 if the connection is closed now. */
static ssize_t answer(struct connection *c, const unsigned char *data, size_t size)
{
    size_t at = 0, made = 0, key_at = 0;
    uint64_t frame;
    while ((frame = frame_size(data + at, size - at, &key_at)) && frame <= size - at) {
        const unsigned char *key = data + at + key_at;
        size_t payload = frame - key_at - KEY_SIZE;
        made += put_header(output + made, data[at], payload);
        unmask(output + made, key + KEY_SIZE, payload, key);
        made += payload;
        int opcode = data[at] & 0x0F;
        at += frame;
        if (broadcasts && opcode < OP_CLOSE) {
            for (long i = 0; i < count; i++)
                if (all[i]->open) put(all[i], output, made);
            made = 0;
        }
        if (opcode == OP_CLOSE) {
            put(c, output, made);
            drop(c);
            return -1;
        }
    }
    if (made) put(c, output, made);
    return (ssize_t)at;
}

/* Answer a frame that was too large for the shared buffers, in and from its own memory. */
static void answer_large(struct connection *c)
{
    size_t key_at = 0;
    uint64_t frame = frame_size(c->in, c->in_size, &key_at);
    unsigned char key[KEY_SIZE], first = c->in[0], *memory = c->in, *payload = memory + key_at + KEY_SIZE;
    memcpy(key, memory + key_at, KEY_SIZE);
    size_t length = frame - key_at - KEY_SIZE;
    unmask(payload, payload, length, key);
    /* The new header is as long as the old one without its key. */
    put_header(payload - key_at, first, length);
    c->in = NULL;
    c->in_size = c->in_needed = 0;
    for (long i = 0; broadcasts && i < count; i++)
        if (all[i]->open) put(all[i], memory + KEY_SIZE, frame - KEY_SIZE);
    /* Nothing is read while something waits to be written, so nothing does. */
    ssize_t n = broadcasts ? (ssize_t)(frame - KEY_SIZE) : write(c->fd, memory + KEY_SIZE, frame - KEY_SIZE);
    if ((size_t)n == frame - KEY_SIZE || (n < 0 && errno != EAGAIN)) {
        free(memory);
        return;
    }
    c->out = memory;
    c->out_size = frame;
    c->out_done = KEY_SIZE + (n > 0 ? (size_t)n : 0);
    watch(c, EPOLLOUT, EPOLL_CTL_MOD);
}

static void keep(struct connection *c, const unsigned char *data, size_t size, size_t needed)
{
    c->in = get_memory(c->in, needed > size ? needed : size);
    memcpy(c->in, data, size);
    c->in_size = size;
    c->in_needed = needed;
}

static void shake_hands(struct connection *c, size_t size)
{
    static const char name[] = "\r\nSec-WebSocket-Key:", guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    if (size < 4 || memcmp(input + size - 4, "\r\n\r\n", 4)) {
        keep(c, input, size, 0);
        return;
    }
    input[size - 1] = 0;
    const char *key = strcasestr((char *)input, name);
    if (!key) fail("a request without a key");
    key += sizeof name - 1;
    key += strspn(key, " ");
    char joined[64], accept[32];
    int length = snprintf(joined, sizeof joined, "%.24s%s", key, guid);
    unsigned char digest[SHA1_SIZE];
    sha1(joined, (size_t)length, digest);
    base64(digest, sizeof digest, accept);
    length = snprintf((char *)output, sizeof output,
                      "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                      "Sec-WebSocket-Accept: %s\r\n\r\n", accept);
    c->open = 1;
    put(c, output, (size_t)length);
}

static void take(struct connection *c)
{
    ssize_t n;
    if (c->in_needed) {
        n = read(c->fd, c->in + c->in_size, c->in_needed - c->in_size);
        if (n > 0) c->in_size += (size_t)n;
        if (n > 0 && c->in_size == c->in_needed) answer_large(c);
    } else {
        size_t kept = c->in_size, key_at = 0;
        n = read(c->fd, input + kept, READ_SIZE - kept);
        if (n > 0) {
            if (kept) memcpy(input, c->in, kept);
            free(c->in);
            c->in = NULL;
            c->in_size = 0;
            size_t size = kept + (size_t)n;
            if (!c->open) {
                shake_hands(c, size);
                return;
            }
            ssize_t done = answer(c, input, size);
            if (done < 0 || (size_t)done == size) return;
            uint64_t frame = frame_size(input + done, size - (size_t)done, &key_at);
            keep(c, input + done, size - (size_t)done, frame > LARGE ? frame : 0);
        }
    }
    if (n == 0 || (n < 0 && errno != EAGAIN)) drop(c);
}

static void welcome(int listener)
{
    int one = 1;
    struct connection *c = calloc(1, sizeof *c);
    if (!c) fail("too little memory");
    c->fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK);
    if (c->fd < 0) {
        free(c);
        return;
    }
    setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (count == room) all = get_memory(all, (size_t)(room = room * 2 + 64) * sizeof *all);
    c->index = count;
    all[count++] = c;
    watch(c, EPOLLIN, EPOLL_CTL_ADD);
}

int main(int argc, char **argv)
{
    broadcasts = argc == 2 && !strcmp(argv[1], "broadcast");
    if (argc > 2 || (argc == 2 && !broadcasts)) fail("usage: echo_server [broadcast]");
    signal(SIGPIPE, SIG_IGN);
    /* Large messages one after the other get the same memory, not fresh pages each. */
    mallopt(M_MMAP_THRESHOLD, MEMORY_KEPT);
    mallopt(M_TRIM_THRESHOLD, MEMORY_KEPT);
    struct sockaddr_in address = {.sin_family = AF_INET};
    socklen_t size = sizeof address;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (listener < 0 || bind(listener, (struct sockaddr *)&address, size) || listen(listener, 1024) ||
        getsockname(listener, (struct sockaddr *)&address, &size))
        fail("cannot listen: %s", strerror(errno));
    events_fd = epoll_create1(0);
    /* Neither is a connection: their addresses tell them apart. */
    static struct connection standard_input = {.fd = STDIN_FILENO}, listening;
    listening.fd = listener;
    watch(&standard_input, EPOLLIN, EPOLL_CTL_ADD);
    watch(&listening, EPOLLIN, EPOLL_CTL_ADD);
    printf("%d\n", ntohs(address.sin_port));
    fflush(stdout);
    for (;;) {
        struct epoll_event events[256];
        int n = epoll_wait(events_fd, events, 256, -1);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            if (c == &standard_input) return 0;
            if (c == &listening) welcome(listener);
            else if (c->out) put_more(c);
            else take(c);
        }
    }
}
