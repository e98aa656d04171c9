/*
 * Sends numbered UDP datagrams as fast as one processor can, or at a rate: the traffic of the NFLOG benchmarks and tests.
 *
 *     flood [-s BYTES] [-r RATE] [-b BATCH] [-f SOCKETS] [-a SOURCE] [-p PORTS] [-n FIRST] ADDRESS PORT COUNT
 *
 * -s  bytes of the whole IP packet (64); -r  packets a second (as many as possible); -b  packets of one sendmmsg (64)
 * -f  sockets that take turns, each with a port of its own (1); -a  the first one's address, IPv4, the others' follow it
 * -p  destination ports from PORT on, by turns (1); -n  number of the first packet (0)
 *
 * ADDRESS is IPv4 or IPv6. Each payload begins with "netsteer", the packet's number, and the nanoseconds of CLOCK_MONOTONIC and of CLOCK_REALTIME
 * just before its sendmmsg, all three big endian in 8 bytes: whoever receives it can tell which one it is, and how long it took.
 *
 * Prints one line of JSON: packets, nanoseconds from the first to the last send, CPU microseconds. What the network refuses for want of
 * room is sent again. Exits with 1 when a packet could not be sent.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { MAX_BATCH = 1024, MAX_SOCKETS = 1024, MAX_PACKET = 65535, STAMP = 32, UDP_HEADER = 8 };

static void fail(const char *what)
{
	perror(what);
	exit(2);
}

static uint64_t nanoseconds(clockid_t clock)
{
	struct timespec t;

	clock_gettime(clock, &t);
	return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

static uint64_t cpu_microseconds(void)
{
	struct rusage u;

	getrusage(RUSAGE_SELF, &u);
	return (u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1000000ull + u.ru_utime.tv_usec + u.ru_stime.tv_usec;
}

static void sleep_until(uint64_t due)
{
	struct timespec t = { .tv_sec = due / 1000000000u, .tv_nsec = due % 1000000000u };

	clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

/* A socket that sends from an address, if one is given, or from the one that the route has. */
static int open_socket(int family, const char *source, unsigned index)
{
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0)
		fail("socket");
	if (source) {
		struct sockaddr_in address = { .sin_family = AF_INET };

		if (inet_pton(AF_INET, source, &address.sin_addr) != 1) {
			fprintf(stderr, "%s is no IPv4 address\n", source);
			exit(2);
		}
		address.sin_addr.s_addr = htonl(ntohl(address.sin_addr.s_addr) + index);
		if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
			fail("bind");
	}
	return fd;
}

int main(int argc, char **argv)
{
	unsigned long size = 64, rate = 0, batch = 64, sockets = 1, ports = 1, first = 0;
	const char *source = NULL;
	int option;

	while ((option = getopt(argc, argv, "s:r:b:f:a:p:n:")) != -1) {
		switch (option) {
		case 's': size = strtoul(optarg, NULL, 10); break;
		case 'r': rate = strtoul(optarg, NULL, 10); break;
		case 'b': batch = strtoul(optarg, NULL, 10); break;
		case 'f': sockets = strtoul(optarg, NULL, 10); break;
		case 'a': source = optarg; break;
		case 'p': ports = strtoul(optarg, NULL, 10); break;
		case 'n': first = strtoul(optarg, NULL, 10); break;
		default: return 2;
		}
	}
	if (argc - optind != 3 || batch < 1 || batch > MAX_BATCH || sockets < 1 || sockets > MAX_SOCKETS || ports < 1 ||
	    ports > 65535 || size > MAX_PACKET) {
		fprintf(stderr, "usage: %s [options] ADDRESS PORT COUNT\n", argv[0]);
		return 2;
	}
	struct addrinfo hints = { .ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_DGRAM }, *to;
	int error = getaddrinfo(argv[optind], argv[optind + 1], &hints, &to);

	if (error != 0) {
		fprintf(stderr, "%s: %s\n", argv[optind], gai_strerror(error));
		return 2;
	}
	unsigned port = atoi(argv[optind + 1]);
	uint64_t count = strtoull(argv[optind + 2], NULL, 10);
	size_t headers = (to->ai_family == AF_INET ? 20 : 40) + UDP_HEADER;
	size_t payload = size > headers + STAMP ? size - headers : STAMP;

	int fds[MAX_SOCKETS];
	char *buffers = calloc(batch, payload);
	struct iovec *parts = calloc(batch, sizeof *parts);
	struct mmsghdr *messages = calloc(batch, sizeof *messages);
	struct sockaddr_in6 *targets = calloc(ports, sizeof *targets);

	if (!buffers || !parts || !messages || !targets)
		fail("calloc");
	for (unsigned i = 0; i < sockets; i++)
		fds[i] = open_socket(to->ai_family, source, i);
	for (unsigned i = 0; i < ports; i++) {
		memcpy(&targets[i], to->ai_addr, to->ai_addrlen);
		/* The port stands at the same place in both families. */
		targets[i].sin6_port = htons(port + i);
	}
	for (unsigned i = 0; i < batch; i++) {
		memcpy(buffers + i * payload, "netsteer", 8);
		parts[i] = (struct iovec){ .iov_base = buffers + i * payload, .iov_len = payload };
		messages[i].msg_hdr = (struct msghdr){ .msg_namelen = to->ai_addrlen, .msg_iov = &parts[i], .msg_iovlen = 1 };
	}
	prctl(PR_SET_TIMERSLACK, 1);

	uint64_t cpu = cpu_microseconds(), begin = nanoseconds(CLOCK_MONOTONIC), sent = 0;

	for (uint64_t turn = 0; sent < count; turn++) {
		unsigned length = count - sent < batch ? count - sent : batch;

		if (rate)
			sleep_until(begin + (uint64_t)(sent * 1e9 / rate));
		uint64_t stamps[] = { htobe64(nanoseconds(CLOCK_MONOTONIC)), htobe64(nanoseconds(CLOCK_REALTIME)) };

		for (unsigned i = 0; i < length; i++) {
			uint64_t number = htobe64(first + sent + i);

			memcpy(buffers + i * payload + 8, &number, 8);
			memcpy(buffers + i * payload + 16, stamps, 16);
			messages[i].msg_hdr.msg_name = &targets[(sent + i) % ports];
		}
		for (unsigned done = 0; done < length;) {
			int now = sendmmsg(fds[turn % sockets], messages + done, length - done, 0);

			if (now < 0 && errno != ENOBUFS && errno != EAGAIN && errno != EINTR && errno != ECONNREFUSED) {
				perror("sendmmsg");
				return 1;
			}
			if (now > 0)
				done += now;
		}
		sent += length;
	}
	uint64_t end = nanoseconds(CLOCK_MONOTONIC);

	printf("{\"packets\":%llu,\"nanoseconds\":%llu,\"cpuMicroseconds\":%llu}\n", (unsigned long long)sent,
	       (unsigned long long)(end - begin), (unsigned long long)(cpu_microseconds() - cpu));
	return 0;
}
