/* What the C programs here share: errors, clocks, and WebSocket connections over TCP, or TLS if built WITH_TLS. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef WITH_TLS
#include <openssl/ssl.h>
#endif

enum { HEAD_SIZE = 1 << 14, CLOSE_MS = 1000 };

struct stream {
    int fd;
#ifdef WITH_TLS
    SSL *ssl; /* NULL for plain TCP */
#endif
};

static inline void fail(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static inline double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

/* CPU seconds that a process has used, up to this moment, all threads. */
static inline double cpu_of(pid_t pid)
{
    clockid_t clock;
    struct timespec t;
    if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t)) fail("no CPU clock of process %d", (int)pid);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

#ifdef WITH_TLS
static inline ssize_t ssl_result(struct stream *s, int n)
{
    if (n > 0) return n;
    int error = SSL_get_error(s->ssl, n);
    errno = error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE ? EAGAIN : EPROTO;
    return error == SSL_ERROR_ZERO_RETURN ? 0 : -1;
}
#endif

/* As read(2) and write(2). */
static inline ssize_t stream_read(struct stream *s, void *data, size_t size)
{
#ifdef WITH_TLS
    if (s->ssl) return ssl_result(s, SSL_read(s->ssl, data, (int)size));
#endif
    return read(s->fd, data, size);
}

static inline ssize_t stream_write(struct stream *s, const void *data, size_t size)
{
#ifdef WITH_TLS
    if (s->ssl) return ssl_result(s, SSL_write(s->ssl, data, (int)size));
#endif
    return write(s->fd, data, size);
}

static inline int stream_is_tls(const struct stream *s)
{
#ifdef WITH_TLS
    return s->ssl != NULL;
#else
    (void)s;
    return 0;
#endif
}

static inline void start_tls(struct stream *s)
{
#ifdef WITH_TLS
    static SSL_CTX *context;
    if (!context) {
        context = SSL_CTX_new(TLS_client_method());
        if (!context) fail("no TLS");
        SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    }
    s->ssl = SSL_new(context);
    if (!s->ssl || !SSL_set_fd(s->ssl, s->fd) || SSL_connect(s->ssl) != 1) fail("the TLS handshake failed");
#else
    (void)s;
    fail("built without TLS");
#endif
}

/* Connect, do the opening handshake with these lines added to it, and make the socket non-blocking. */
static inline struct stream open_stream(int port, int tls, const char *headers)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    struct stream s = {.fd = socket(AF_INET, SOCK_STREAM, 0)};
    int one = 1;
    if (s.fd < 0 || connect(s.fd, (struct sockaddr *)&address, sizeof address))
        fail("cannot connect: %s", strerror(errno));
    setsockopt(s.fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if (tls) start_tls(&s);
    char head[HEAD_SIZE];
    int size = snprintf(head, sizeof head,
                        "GET / HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s\r\n",
                        port, headers);
    if (size < 0 || size >= HEAD_SIZE || stream_write(&s, head, (size_t)size) != size) fail("cannot send the request");
    size_t have = 0;
    /* Servers send nothing of their own accord, so nothing can stand behind the head. */
    while (have < 4 || memcmp(head + have - 4, "\r\n\r\n", 4)) {
        ssize_t n = have < sizeof head - 1 ? stream_read(&s, head + have, sizeof head - 1 - have) : 0;
        if (n <= 0) fail("the handshake does not end");
        have += (size_t)n;
    }
    head[have] = 0;
    if (strncmp(head, "HTTP/1.1 101 ", 13)) fail("the handshake was refused:\n%s", head);
    if (!strcasestr(head, "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"))
        fail("the handshake was not accepted:\n%s", head);
    if (strstr(headers, "permessage-deflate") && !strcasestr(head, "permessage-deflate"))
        fail("the server does not compress:\n%s", head);
    fcntl(s.fd, F_SETFL, O_NONBLOCK);
    return s;
}

/* End a connection the proper way, so that servers have nothing to complain about. */
static inline void close_stream(struct stream *s)
{
    static const unsigned char close_frame[] = {0x88, 0x82, 0, 0, 0, 0, 0x03, 0xE8};
    char left[4096];
    struct pollfd wait = {.fd = s->fd, .events = POLLIN};
    if (stream_write(s, close_frame, sizeof close_frame) == sizeof close_frame) {
        if (!stream_is_tls(s)) shutdown(s->fd, SHUT_WR);
        while (poll(&wait, 1, CLOSE_MS) > 0) {
            ssize_t n = stream_read(s, left, sizeof left);
            if (n == 0 || (n < 0 && errno != EAGAIN)) break;
        }
    }
#ifdef WITH_TLS
    if (s->ssl) SSL_free(s->ssl);
#endif
    close(s->fd);
}
