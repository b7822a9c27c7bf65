/* A WebSocket load client: several connections, messages in flight on each, every reply checked.
 *
 * It sends prepared messages over and over, so it spends next to nothing per message, and what a run
 * measures is the server. Linux only (epoll).
 *
 *   load MODE PORT PID CONNECTIONS IN_FLIGHT MESSAGES HEADERS FRAMES REPLY
 *
 * MODE        echo        each connection sends, and gets its replies
 *             tls         likewise over TLS
 *             broadcast   the first connection sends, one message at a time, and all get the reply
 *             handshakes  opens MESSAGES connections, one after the other, and nothing else
 * IN_FLIGHT   messages that leave together; the next ones leave when all of them are answered
 * PID         the process whose CPU time is read, when all is open and before anything is closed
 * MESSAGES    number for all connections together; with broadcast, the number of deliveries
 * HEADERS     file with lines to add to the handshake request, may be empty
 * FRAMES      file with the frames to send in turn, masked, one message each; those that are sent at the same
 *             time and stand together leave in one write
 * REPLY       file with the frame that must come back, byte for byte; if empty, any unmasked final data frame
 *             does, as with compression, whose bytes depend on what was sent before
 *
 * Prints one line: messages, seconds, CPU seconds of the process, then the latency of a message in
 * microseconds at 50 and 99 per cent, then the bytes received.
 */
#include <stdint.h>
#include <sys/epoll.h>

#include "stream.h"

enum { READ_SIZE = 1 << 18, FINE = 2048, BUCKETS = FINE + 20000, SILENCE_MS = 20000, SETTLE_US = 20000 };
enum mode { ECHO, TLS, BROADCAST, HANDSHAKES, MODES };

static const char *const mode_names[MODES] = {"echo", "tls", "broadcast", "handshakes"};

struct connection {
    struct stream stream;
    long sent;     /* messages whose bytes were all handed to the kernel or are being written */
    long received; /* replies */
    long share;    /* messages to send in all */
    long next;     /* index of the frame to send next */
    long burst;    /* messages that have been sent when this burst has left */
    size_t offset; /* place in the frames of what is to be written now */
    size_t end;    /* and of its end */
    /* The reply that is coming in: bytes of it so far, and what is known of its length. */
    unsigned char header[10];
    size_t have;
    uint64_t reply_size; /* header and payload; 0 while unknown */
    double *sent_at;     /* ring of in_flight times; that of the first connection if it alone sends */
};

static unsigned char *frames, *reply;
static size_t frames_size, expected_size;
static size_t *offsets; /* where each frame starts, and the end of the last one */
static long frame_count;
static long in_flight;
static long histogram[BUCKETS];
static unsigned char buffer[READ_SIZE];

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

static void send_more(struct connection *c)
{
    for (;;) {
        if (c->offset == c->end) {
            /* All that is in flight leaves together, when the last of it is answered: if each reply made room for the
             * next message, the size of the writes would depend on which of the two processes is faster. */
            if (c->sent == c->received) {
                c->burst = c->sent + in_flight;
                if (c->burst > c->share) c->burst = c->share;
            }
            long room = c->burst - c->sent;
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
        ssize_t n = stream_write(&c->stream, frames + c->offset, c->end - c->offset);
        if (n < 0) {
            if (errno == EAGAIN) return;
            fail("cannot send: %s", strerror(errno));
        }
        c->offset += (size_t)n;
    }
}

static void count(double seconds)
{
    double us = seconds * 1e6;
    /* Buckets of 1 us up to 2 ms, and of 100 us above, up to 2 s. */
    long bucket = us < FINE ? (long)us : FINE + (long)((us - FINE) / 100);
    histogram[bucket < BUCKETS ? bucket : BUCKETS - 1]++;
}

static void count_reply(struct connection *c, double t)
{
    count(t - c->sent_at[c->received % in_flight]);
    c->received++;
}

/* Take n bytes; they must be the expected reply, again and again. */
static void check_exact(struct connection *c, const unsigned char *data, size_t n, double t)
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
            count_reply(c, t);
        }
    }
}

/* Take n bytes of frames whose payload is not known; only their headers are checked. */
static void check_headers(struct connection *c, const unsigned char *data, size_t n, double t)
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
            count_reply(c, t);
        }
    }
}

/* Read all that is there; return its size. */
static size_t receive(struct connection *c)
{
    size_t total = 0;
    for (;;) {
        ssize_t size = stream_read(&c->stream, buffer, READ_SIZE);
        if (size == 0) fail("the server closed the connection");
        if (size < 0) {
            if (errno == EAGAIN) return total;
            fail("cannot receive: %s", strerror(errno));
        }
        total += (size_t)size;
        if (expected_size) check_exact(c, buffer, (size_t)size, now());
        else check_headers(c, buffer, (size_t)size, now());
        if (size < READ_SIZE && !stream_is_tls(&c->stream)) return total;
    }
}

static double percentile(long total, double share)
{
    long seen = 0;
    for (long i = 0; i < BUCKETS; i++) {
        seen += histogram[i];
        if (seen >= (long)((double)total * share)) return i < FINE ? (double)i : FINE + (double)(i - FINE) * 100;
    }
    return 0;
}

/* Exchange messages until all replies are there; return the bytes received. */
static double exchange(struct connection *all, long connections, long messages, enum mode mode)
{
    int events_fd = epoll_create1(0);
    for (long i = 0; i < connections; i++) {
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLET, .data.ptr = &all[i]};
        epoll_ctl(events_fd, EPOLL_CTL_ADD, all[i].stream.fd, &event);
    }
    long done = 0, senders = mode == BROADCAST ? 1 : connections;
    double bytes = 0;
    for (long i = 0; i < senders; i++) send_more(&all[i]);
    while (done < messages) {
        struct epoll_event events[256];
        int n = epoll_wait(events_fd, events, 256, SILENCE_MS);
        if (n <= 0) fail("no reply for %d ms: %ld of %ld came", SILENCE_MS, done, messages);
        for (int i = 0; i < n; i++) {
            struct connection *c = events[i].data.ptr;
            long before = c->received;
            bytes += (double)receive(c);
            done += c->received - before;
            if (mode != BROADCAST) send_more(c);
        }
        /* The next broadcast when everybody has the last one. */
        if (mode == BROADCAST && done == all[0].sent * connections) send_more(&all[0]);
    }
    for (long i = 0; i < connections; i++)
        if (all[i].received != all[i].share) fail("a connection got %ld of %ld", all[i].received, all[i].share);
    close(events_fd);
    return bytes;
}

int main(int argc, char **argv)
{
    int mode = 0;
    while (argc == 10 && mode < MODES && strcmp(argv[1], mode_names[mode])) mode++;
    if (argc != 10 || mode == MODES)
        fail("usage: load MODE PORT PID CONNECTIONS IN_FLIGHT MESSAGES HEADERS FRAMES REPLY");
    int port = atoi(argv[2]);
    pid_t pid = atoi(argv[3]);
    long messages = atol(argv[6]);
    long connections = mode == HANDSHAKES ? messages : atol(argv[4]);
    in_flight = mode == BROADCAST ? 1 : atol(argv[5]);
    size_t headers_size;
    char *headers = (char *)read_file(argv[7], &headers_size);
    frames = read_file(argv[8], &frames_size);
    find_frames();
    reply = read_file(argv[9], &expected_size);
    if (connections < 1 || in_flight < 1 || messages < connections) fail("fewer messages than connections");
    struct connection *all = calloc((size_t)connections, sizeof *all);
    double *sent_at = calloc((size_t)(connections * in_flight), sizeof *sent_at);
    if (!all || !sent_at) fail("too little memory");
    double start = now(), cpu = cpu_of(pid);
    for (long i = 0; i < connections; i++) {
        struct connection *c = &all[i];
        double t = now();
        c->stream = open_stream(port, mode == TLS, headers);
        c->share = messages / connections;
        c->sent_at = mode == BROADCAST ? sent_at : sent_at + i * in_flight;
        if (mode == HANDSHAKES) count(now() - t);
    }
    messages = messages / connections * connections;
    double bytes = 0, end = now();
    if (mode != HANDSHAKES) {
        usleep(SETTLE_US);
        cpu = cpu_of(pid);
        start = now();
        bytes = exchange(all, connections, messages, mode);
        end = now();
    }
    /* What the server does behind its last reply counts, too. */
    usleep(SETTLE_US);
    printf("%ld %.6f %.9f %.0f %.0f %.0f\n", messages, end - start, cpu_of(pid) - cpu, percentile(messages, 0.5),
           percentile(messages, 0.99), bytes);
    fflush(stdout);
    for (long i = 0; i < connections; i++) close_stream(&all[i].stream);
    return 0;
}
