/*
 * The floor of the fleet's benchmark: enters each namespace, opens a netlink socket there, and sends it the same datagram, which was written
 * before. Nothing is encoded, and of the answers only errors are looked at.
 *
 *     floor-fleet PROTOCOL FILE [WARM] < PATHS
 *
 * PROTOCOL is the number of the netlink protocol; FILE holds the datagram, after its length (uint32_t of this machine). The paths of the
 * namespaces stand on the standard input, one on each line; they are opened before the time begins. The sockets stay open until the end, or
 * as long as there are descriptors for more: the oldest are closed then, as a fleet does.
 * WARM namespaces of its own come first, and are not timed.
 *
 * Prints one line of JSON: nanoseconds from the first entry to the last answer, its CPU microseconds, the number of namespaces, and the
 * median and 99th percentile of a single one. Exits with 1 when the kernel refuses something.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "floor.h"
#include "new-namespace.h"

enum { MAX_NAMESPACES = 100000, SPARE = 64, RECEIVE_BUFFER = 32 * 1024 };

static int open_socket(int protocol)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol), one = 1;

	if (fd < 0 || bind(fd, (struct sockaddr *)&kernel, sizeof kernel) < 0 ||
	    connect(fd, (struct sockaddr *)&kernel, sizeof kernel) < 0)
		fail("netlink socket");
	setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof one);
	setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof one);
	return fd;
}

/* How many sockets can stay open beside the namespaces. */
static size_t sockets_kept(size_t namespaces)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) < 0)
		fail("getrlimit");
	size_t left = limit.rlim_cur > namespaces + SPARE ? limit.rlim_cur - namespaces - SPARE : 1;

	return left < MAX_NAMESPACES ? left : MAX_NAMESPACES;
}

/* One read: the acknowledgement, or the first refusal. */
static unsigned read_answer(int fd, char *buffer)
{
	ssize_t length = recv(fd, buffer, RECEIVE_BUFFER, MSG_DONTWAIT);
	const struct nlmsghdr *header = (const struct nlmsghdr *)buffer;

	if (length < 0)
		fail("recv");
	if (header->nlmsg_type != NLMSG_ERROR)
		return 0;
	int error = -((const struct nlmsgerr *)NLMSG_DATA(header))->error;

	if (error != 0)
		fprintf(stderr, "message %u: %s\n", header->nlmsg_seq, strerror(error));
	return error != 0;
}

int main(int argc, char **argv)
{
	static int namespaces[MAX_NAMESPACES], sockets[MAX_NAMESPACES];
	static uint64_t latencies[MAX_NAMESPACES];
	static char datagram[1 << 20], buffer[RECEIVE_BUFFER], line[4096];
	size_t count = 0;
	unsigned errors = 0;
	uint32_t length;

	if (argc != 3 && argc != 4) {
		fprintf(stderr, "usage: %s PROTOCOL FILE [WARM] < PATHS\n", argv[0]);
		return 2;
	}
	FILE *file = fopen(argv[2], "r");

	if (!file || fread(&length, 4, 1, file) != 1 || length > sizeof datagram || fread(datagram, length, 1, file) != 1)
		fail(argv[2]);
	fclose(file);
	while (count < MAX_NAMESPACES && fgets(line, sizeof line, stdin)) {
		line[strcspn(line, "\n")] = '\0';
		namespaces[count] = open(line, O_RDONLY | O_CLOEXEC);
		if (namespaces[count++] < 0)
			fail(line);
	}

	int protocol = atoi(argv[1]);

	for (int warm = argc == 4 ? atoi(argv[3]) : 0; warm > 0; warm--) {
		enter_new();
		int fd = open_socket(protocol);

		if (send(fd, datagram, length, 0) < 0)
			fail("send");
		errors += read_answer(fd, buffer);
		close(fd);
	}
	size_t kept = sockets_kept(count);
	uint64_t cpu = cpu_microseconds(), begin = now(), before = begin;

	for (size_t i = 0; i < count; i++) {
		if (setns(namespaces[i], CLONE_NEWNET) < 0)
			fail("setns");
		if (i >= kept)
			close(sockets[i % kept]);
		int fd = sockets[i % kept] = open_socket(protocol);

		if (send(fd, datagram, length, 0) < 0)
			fail("send");
		errors += read_answer(fd, buffer);
		uint64_t after = now();

		latencies[i] = after - before;
		before = after;
	}
	cpu = cpu_microseconds() - cpu;
	qsort(latencies, count, sizeof *latencies, compare);
	printf("{\"nanoseconds\":%llu,\"cpuMicroseconds\":%llu,\"datagrams\":%zu,\"p50\":%.3f,\"p99\":%.3f}\n",
	       (unsigned long long)(before - begin), (unsigned long long)cpu, count, latencies[count / 2] / 1e3,
	       latencies[count * 99 / 100] / 1e3);
	return errors ? 1 : 0;
}
