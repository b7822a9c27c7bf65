/* A WebSocket load client: several connections, messages in flight on each, every reply checked.
 *
 * It sends prepared messages over and over, so it spends next to nothing per message, and what a run
 * measures is the server. Linux only (epoll).
 *
 *   load PORT CONNECTIONS IN_FLIGHT MESSAGES HEADERS FRAMES REPLY
 *
 * HEADERS  file with lines to add to the handshake request, may be empty
 * FRAMES   file with the frames to send in turn, masked, one message each; those that are sent at the same
 *          time and stand together leave in one write
 * REPLY    file with the frame that must come back, byte for byte; if empty, any unmasked final data frame
 *          does, as with compression, whose bytes depend on what was sent before
 *
 * MESSAGES is the number for all connections together. Prints one line: seconds, then the latency of a
 * message in microseconds at 50 and 99 per cent, then the bytes received.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { READ_SIZE = 1 << 18, BUCKETS = 4096, HEAD_SIZE = 1 << 14, SILENCE_MS = 20000, CLOSE_MS = 1000 };

struct connection {
    int fd;
    long sent;     /* messages whose bytes were all handed to the kernel or are being written */
    long received; /* replies */
    long share;    /* messages to send in all */
    long next;     /* index of the frame to send next */
    size_t offset; /* place in the frames of what is to be written now */
    size_t end;    /* and of its end */
    /* The reply that is coming in: bytes of it so far, and what is known of its length. */
    unsigned char header[10];
    size_t have;
    uint64_t reply_size; /* header and payload; 0 while unknown */
    double *sent_at;     /* ring of in_flight times */
};

static unsigned char *frames, *reply;
static size_t frames_size, expected_size;
static size_t *offsets; /* where each frame starts, and the end of the last one */
static long frame_count;
static long in_flight;
static long histogram[BUCKETS];
static unsigned char buffer[READ_SIZE];

static void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static unsigned char *read_file(const char *name, size_t *size)
{
    FILE *file = fopen(name, "rb");
    if (!file) fail("cannot open %s", name);
    fseek(file, 0, SEEK_END);
    *size = (size_t)ftell(file);
    rewind(file);
    unsigned char *data = malloc(*size + 1);
    if (!data || fread(data, 1, *size, file) != *size) fail("cannot read %s", name);
    fclose(file);
    data[*size] = 0;
    return data;
}

static void find_frames(void)
{
    offsets = malloc((frames_size / 6 + 2) * sizeof *offsets);
    if (!offsets) fail("too little memory");
    size_t at = 0;
    while (at < frames_size) {
        offsets[frame_count++] = at;
        size_t length = frames[at + 1] & 0x7F;
        size_t size = length < 126 ? 2 : length == 126 ? 4 : 10;
        uint64_t payload = length < 126 ? length : 0;
        for (size_t i = 2; i < size; i++) payload = payload << 8 | frames[at + i];
        at += size + 4 + payload;
    }
    if (at != frames_size || !frame_count) fail("the file with the frames does not end with one");
    offsets[frame_count] = at;
}

static int open_connection(int port, const char *headers)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    int one = 1;
    if (fd < 0 || connect(fd, (struct sockaddr *)&address, sizeof address)) fail("cannot connect: %s", strerror(errno));
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    char head[HEAD_SIZE];
    int size = snprintf(head, sizeof head,
                        "GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
                        port, headers);
    if (size < 0 || size >= HEAD_SIZE || write(fd, head, (size_t)size) != size) fail("cannot send the request");
    size_t have = 0;
    /* One byte at a time: nothing behind the head may be read here. */
    while (have < sizeof head - 1 && (have < 4 || memcmp(head + have - 4, "\r\n\r\n", 4))) {
        if (read(fd, head + have, 1) != 1) fail("the server closed the connection in the handshake");
        have++;
    }
    head[have] = 0;
    if (strncmp(head, "HTTP/1.1 101 ", 13)) fail("the handshake was refused:\n%s", head);
    if (*headers && strstr(headers, "permessage-deflate") && !strcasestr(head, "permessage-deflate"))
        fail("the server does not compress:\n%s", head);
    fcntl(fd, F_SETFL, O_NONBLOCK);
    return fd;
}

/* End a connection the proper way, so that servers have nothing to complain about. */
static void close_connection(struct connection *c)
{
    static const unsigned char close_frame[] = {0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8};
    struct pollfd wait = {.fd = c->fd, .events = POLLIN};
    if (write(c->fd, close_frame, sizeof close_frame) == sizeof close_frame) {
        shutdown(c->fd, SHUT_WR);
        while (poll(&wait, 1, CLOSE_MS) > 0 && read(c->fd, buffer, READ_SIZE) > 0) {
        }
    }
    close(c->fd);
}

static void send_more(struct connection *c)
{
    for (;;) {
        if (c->offset == c->end) {
            long room = in_flight - (c->sent - c->received);
            if (room > c->share - c->sent) room = c->share - c->sent;
            if (c->next == frame_count) c->next = 0;
            if (room > frame_count - c->next) room = frame_count - c->next;
            if (room <= 0) return;
            double t = now();
            for (long i = 0; i < room; i++) c->sent_at[(c->sent + i) % in_flight] = t;
            c->sent += room;
            c->offset = offsets[c->next];
            c->next += room;
            c->end = offsets[c->next];
        }
        ssize_t n = write(c->fd, frames + c->offset, c->end - c->offset);
        if (n < 0) {
            if (errno == EAGAIN) return;
            fail("cannot send: %s", strerror(errno));
        }
        c->offset += (size_t)n;
    }
}

static void count_reply(struct connection *c)
{
    double us = (now() - c->sent_at[c->received % in_flight]) * 1e6;
    /* Buckets of 1 us up to 2 ms, and of 100 us above. */
    long bucket = us < 2048 ? (long)us : 2048 + (long)((us - 2048) / 100);
    histogram[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
    c->received++;
}

/* Take n bytes; they must be the expected reply, again and again. */
static void check_exact(struct connection *c, const unsigned char *data, size_t n)
{
    while (n) {
        size_t take = expected_size - c->have;
        if (take > n) take = n;
        if (memcmp(reply + c->have, data, take)) fail("a reply is not what was sent");
        c->have += take;
        data += take;
        n -= take;
        if (c->have == expected_size) {
            c->have = 0;
            count_reply(c);
        }
    }
}

/* Take n bytes of frames whose payload is not known; only their headers are checked. */
static void check_headers(struct connection *c, const unsigned char *data, size_t n)
{
    while (n) {
        if (!c->reply_size) {
            c->header[c->have++] = *data++;
            n--;
            if (c->have < 2) continue;
            if ((c->header[0] & 0x8F) != 0x81 && (c->header[0] & 0x8F) != 0x82) fail("a reply is no final data frame");
            size_t length = c->header[1];
            size_t header_size = length < 126 ? 2 : length == 126 ? 4 : 10;
            if (length > 127) fail("a reply is masked");
            if (c->have < header_size) continue;
            uint64_t payload = length < 126 ? length : 0;
            for (size_t i = 2; i < header_size; i++) payload = payload << 8 | c->header[i];
            c->reply_size = header_size + payload;
        }
        uint64_t take = c->reply_size - c->have;
        if (take > n) take = n;
        c->have += take;
        data += take;
        n -= take;
        if (c->have == c->reply_size) {
            c->have = 0;
            c->reply_size = 0;
            count_reply(c);
        }
    }
}

static double percentile(long total, double share)
{
    long seen = 0;
    for (long i = 0; i < BUCKETS; i++) {
        seen += histogram[i];
        if (seen >= (long)((double)total * share)) return i < 2048 ? (double)i : 2048 + (double)(i - 2048) * 100;
    }
    return 0;
}

int main(int argc, char **argv)
{
    if (argc != 8) fail("usage: load PORT CONNECTIONS IN_FLIGHT MESSAGES HEADERS FRAMES REPLY");
    int port = atoi(argv[1]);
    long connections = atol(argv[2]);
    in_flight = atol(argv[3]);
    long messages = atol(argv[4]);
    size_t headers_size;
    char *headers = (char *)read_file(argv[5], &headers_size);
    frames = read_file(argv[6], &frames_size);
    find_frames();
    reply = read_file(argv[7], &expected_size);
    struct connection *all = calloc((size_t)connections, sizeof *all);
    if (!all || messages < connections) fail("too little memory, or fewer messages than connections");
    int events_fd = epoll_create1(0);
    for (long i = 0; i < connections; i++) {
        struct connection *c = &all[i];
        c->fd = open_connection(port, headers);
        c->share = messages / connections;
        c->sent_at = calloc((size_t)in_flight, sizeof(double));
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = c};
        epoll_ctl(events_fd, EPOLL_CTL_ADD, c->fd, &event);
    }
    messages = messages / connections * connections;
    long done = 0;
    double bytes = 0;
    double start = now();
    for (long i = 0; i < connections; i++) send_more(&all[i]);
    while (done < messages) {
        struct epoll_event events[256];
        int n = epoll_wait(events_fd, events, 256, SILENCE_MS);
        if (n <= 0) fail("no reply for %d ms: %ld of %ld came", SILENCE_MS, done, messages);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            long before = c->received;
            for (;;) {
                ssize_t size = read(c->fd, buffer, READ_SIZE);
                if (size == 0) fail("the server closed the connection");
                if (size < 0) {
                    if (errno == EAGAIN) break;
                    fail("cannot receive: %s", strerror(errno));
                }
                bytes += (double)size;
                if (expected_size) check_exact(c, buffer, (size_t)size);
                else check_headers(c, buffer, (size_t)size);
                if (size < READ_SIZE) break;
            }
            done += c->received - before;
            send_more(c);
        }
    }
    printf("%.6f %.0f %.0f %.0f\n", now() - start, percentile(messages, 0.5), percentile(messages, 0.99), bytes);
    fflush(stdout);
    for (long i = 0; i < connections; i++) close_connection(&all[i]);
    return 0;
}
