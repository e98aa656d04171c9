/*
 * Round trips through what a kernel was programmed to do: the traffic of the dataplane benchmark.
 *
 *     visit serve PORT                             answers datagrams with themselves, and closes each connection that comes
 *     visit udp ADDRESS PORT COUNT [SOURCE]        one datagram and its answer, each from a socket of its own
 *     visit tcp ADDRESS PORT COUNT [SOURCE]        connects, waits for the other side to close, and closes
 *
 * IPv4. Each visit is a flow of its own: rules that look at the first packet of a connection look at each of them. `serve` prints a line when it
 * is ready and runs until its standard input ends. The others print one line of JSON: visits, nanoseconds of all of them one after the other, CPU
 * microseconds, and the median and 99th percentile of a single one in microseconds. Exits with 1 when one is not answered within a second.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "floor.h"

enum { BACKLOG = 1024, DATAGRAM = 32 };

static struct sockaddr_in address_of(const char *text, int port)
{
	struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(port) };

	if (text && inet_pton(AF_INET, text, &address.sin_addr) != 1) {
		fprintf(stderr, "%s is no IPv4 address\n", text);
		exit(2);
	}
	return address;
}

static int bound(int type, struct sockaddr_in address)
{
	int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0), one = 1;

	if (fd < 0)
		fail("socket");
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	/* A source without a port: chosen at the connect, so that as many as there are can be had. */
	if (address.sin_port == 0)
		setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
		fail("bind");
	return fd;
}

/* From the address that it was sent to: the client's socket takes no other. */
static void answer(int fd)
{
	struct sockaddr_in from;
	char buffer[2048], control[CMSG_SPACE(sizeof(struct in_pktinfo))];
	struct iovec part = { .iov_base = buffer, .iov_len = sizeof buffer };
	struct msghdr message = { .msg_name = &from, .msg_namelen = sizeof from, .msg_iov = &part, .msg_iovlen = 1,
				  .msg_control = control, .msg_controllen = sizeof control };
	ssize_t length = recvmsg(fd, &message, 0);
	struct cmsghdr *header = length < 0 ? NULL : CMSG_FIRSTHDR(&message);

	if (!header || header->cmsg_type != IP_PKTINFO)
		return;
	/* The device is for the routing to find. */
	((struct in_pktinfo *)CMSG_DATA(header))->ipi_ifindex = 0;
	part.iov_len = length;
	sendmsg(fd, &message, 0);
}

static int serve(int port)
{
	int tcp = bound(SOCK_STREAM, address_of(NULL, port)), udp = bound(SOCK_DGRAM, address_of(NULL, port));
	struct pollfd ready[] = { { .fd = tcp, .events = POLLIN }, { .fd = udp, .events = POLLIN },
				  { .fd = STDIN_FILENO, .events = POLLIN } };

	int one = 1;

	setsockopt(udp, IPPROTO_IP, IP_PKTINFO, &one, sizeof one);
	if (listen(tcp, BACKLOG) < 0)
		fail("listen");
	printf("ready\n");
	fflush(stdout);
	for (;;) {
		if (poll(ready, 3, -1) < 0 && errno != EINTR)
			fail("poll");
		if (ready[0].revents) {
			int fd = accept(tcp, NULL, NULL);

			if (fd >= 0)
				close(fd);
		}
		if (ready[1].revents)
			answer(udp);
		if (ready[2].revents)
			return 0;
	}
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "serve") == 0)
		return serve(atoi(argv[2]));
	if (argc < 5 || argc > 6 || (strcmp(argv[1], "udp") != 0 && strcmp(argv[1], "tcp") != 0)) {
		fprintf(stderr, "usage: %s serve PORT | udp|tcp ADDRESS PORT COUNT [SOURCE]\n", argv[0]);
		return 2;
	}
	int type = strcmp(argv[1], "udp") == 0 ? SOCK_DGRAM : SOCK_STREAM;
	struct sockaddr_in to = address_of(argv[2], atoi(argv[3])), from = address_of(argc > 5 ? argv[5] : NULL, 0);
	size_t count = strtoull(argv[4], NULL, 10);
	uint64_t *latencies = calloc(count + 1, sizeof *latencies);
	struct timeval patience = { .tv_sec = 1 };
	char buffer[DATAGRAM] = { 0 };

	if (!latencies)
		fail("calloc");
	uint64_t cpu = cpu_microseconds(), begin = now(), before = begin;

	for (size_t i = 0; i < count; i++) {
		int fd = bound(type, from);

		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
		if (connect(fd, (struct sockaddr *)&to, sizeof to) < 0 ||
		    (type == SOCK_DGRAM && send(fd, buffer, sizeof buffer, 0) < 0) || recv(fd, buffer, sizeof buffer, 0) < 0) {
			fprintf(stderr, "visit %zu: %s\n", i, strerror(errno));
			return 1;
		}
		close(fd);
		uint64_t after = now();

		latencies[i] = after - before;
		before = after;
	}
	cpu = cpu_microseconds() - cpu;
	qsort(latencies, count, sizeof *latencies, compare);
	printf("{\"visits\":%zu,\"nanoseconds\":%llu,\"cpuMicroseconds\":%llu,\"p50\":%.3f,\"p99\":%.3f}\n", count,
	       (unsigned long long)(before - begin), (unsigned long long)cpu, latencies[count / 2] / 1e3,
	       latencies[count * 99 / 100] / 1e3);
	return 0;
}
