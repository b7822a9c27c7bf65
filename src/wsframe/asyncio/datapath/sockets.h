/* Sockets that asyncio has made non-blocking: write and read without waiting, and watch many of them together. */

#ifndef WSFRAME_SOCKETS_H
#define WSFRAME_SOCKETS_H

#include <Python.h>
#include <stdint.h>

#ifdef _WIN32
typedef struct { char *iov_base; size_t iov_len; } piece;
static Py_ssize_t write_now(int fd, piece *pieces, int count) {
    (void)fd, (void)pieces, (void)count;
    return -1;
}
static Py_ssize_t read_now(int fd, void *buffer, Py_ssize_t size) {
    (void)fd, (void)buffer, (void)size;
    return 0;
}
static int would_block(void) { return 0; }
#else
#include <errno.h>
#include <sys/socket.h>
#include <sys/uio.h>
#ifndef MSG_NOSIGNAL /* CPython ignores SIGPIPE anyway */
#define MSG_NOSIGNAL 0
#endif
typedef struct iovec piece;
static Py_ssize_t write_now(int fd, piece *pieces, int count) {
    struct msghdr message = {0};
    if (count == 1)
        return (Py_ssize_t)send(fd, pieces->iov_base, pieces->iov_len, MSG_DONTWAIT | MSG_NOSIGNAL);
    message.msg_iov = pieces;
    message.msg_iovlen = count;
    return (Py_ssize_t)sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
}
static Py_ssize_t read_now(int fd, void *buffer, Py_ssize_t size) {
    return (Py_ssize_t)recv(fd, buffer, (size_t)size, MSG_DONTWAIT);
}
static int would_block(void) { return errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR; }
#endif

/* Sockets watched together, each under a number. */
#ifdef __linux__
#include <sys/epoll.h>
#include <unistd.h>
typedef struct epoll_event ready;
static int watch_open(void) { return epoll_create1(EPOLL_CLOEXEC); }
static void watch_close(int watch) { close(watch); }
static int watch_add(int watch, int fd, uint64_t number) {
    struct epoll_event event = {.events = EPOLLIN, .data.u64 = number};
    return epoll_ctl(watch, EPOLL_CTL_ADD, fd, &event);
}
static void watch_remove(int watch, int fd) {
    struct epoll_event event = {0};
    epoll_ctl(watch, EPOLL_CTL_DEL, fd, &event);
}
static int watch_ready(int watch, ready *all, int size) { return epoll_wait(watch, all, size, 0); }
static uint64_t watch_number(const ready *one) { return one->data.u64; }
#else
typedef struct { char none; } ready;
static int watch_open(void) { return -1; }
static void watch_close(int watch) { (void)watch; }
static int watch_add(int watch, int fd, uint64_t number) { return (void)watch, (void)fd, (void)number, -1; }
static void watch_remove(int watch, int fd) { (void)watch, (void)fd; }
static int watch_ready(int watch, ready *all, int size) { return (void)watch, (void)all, (void)size, 0; }
static uint64_t watch_number(const ready *one) { return (void)one, 0; }
#endif

#endif
