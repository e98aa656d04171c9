/*
 * The floor of the benchmarks: sends datagrams that were written before, and reads the kernel's answers. Nothing is encoded or decoded, so
 * what it takes is the kernel's share.
 *
 *     floor-netlink PROTOCOL FILE [ROUNDS new|here]
 *
 * PROTOCOL is the number of the netlink protocol. FILE holds datagrams, each after its length (uint32_t of this machine). The socket is
 * opened in the namespace that the program is started in. After each datagram all is read that there is to read: the answers to a request
 * are there when sendmsg returns, and each read of a dump makes its next part. So many rounds before are not timed, each in a namespace of
 * its own whose loopback device is up, or all of them here: the library is compared after as many.
 *
 * Prints one line of JSON: nanoseconds from the first send to the last answer, its CPU microseconds, and the median and 99th percentile of
 * the single datagrams. Exits with 1 when the kernel refuses something.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/netlink.h>
#include <sched.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "floor.h"
#include "new-namespace.h"

enum { RECEIVE_BUFFER = 128 * 1024, CHARGE_OF_A_REPLY = 1024 };

static void set_buffer(int fd, int force, int option, int size)
{
	if (setsockopt(fd, SOL_SOCKET, force, &size, sizeof size) < 0)
		setsockopt(fd, SOL_SOCKET, option, &size, sizeof size);
}

/* Reads until there is nothing more. Returns how many errors there were. */
static unsigned read_answers(int fd, char *buffer)
{
	unsigned errors = 0;

	for (;;) {
		ssize_t length = recv(fd, buffer, RECEIVE_BUFFER, MSG_DONTWAIT);

		if (length < 0) {
			if (errno == EAGAIN)
				return errors;
			fail("recv");
		}
		/* Parts of a dump begin with an object, and need no look. */
		const struct nlmsghdr *header = (const struct nlmsghdr *)buffer;

		for (; header->nlmsg_type == NLMSG_ERROR && NLMSG_OK(header, length); header = NLMSG_NEXT(header, length)) {
			const struct nlmsgerr *error = NLMSG_DATA(header);

			if (error->error != 0) {
				if (errors++ == 0)
					fprintf(stderr, "message %u: %s\n", header->nlmsg_seq, strerror(-error->error));
			}
		}
	}
}

static const char *map_file(const char *path, size_t *size)
{
	struct stat status;
	int fd = open(path, O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &status) < 0)
		fail(path);
	*size = status.st_size;
	const char *bytes = mmap(NULL, *size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);

	if (bytes == MAP_FAILED)
		fail("mmap");
	close(fd);
	return bytes;
}

struct datagrams {
	const char *bytes;
	size_t size, count;
	/* Of the largest one: bytes, and messages. */
	uint32_t largest;
	size_t messages;
};

static struct datagrams read_file(const char *path)
{
	struct datagrams all = { 0 };
	uint32_t length;

	all.bytes = map_file(path, &all.size);
	for (size_t at = 0; at < all.size; at += 4 + length, all.count++) {
		memcpy(&length, all.bytes + at, 4);
		if (length > all.largest)
			all.largest = length;
		size_t own = 0;

		for (size_t m = 0; m + NLMSG_HDRLEN <= length; own++) {
			uint32_t step;

			memcpy(&step, all.bytes + at + 4 + m, 4);
			if (step < NLMSG_HDRLEN)
				break;
			m += NLMSG_ALIGN(step);
		}
		if (own > all.messages)
			all.messages = own;
	}
	return all;
}

static int open_socket(int protocol, const struct datagrams *all)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
	int one = 1;

	if (fd < 0 || bind(fd, (struct sockaddr *)&kernel, sizeof kernel) < 0 ||
	    connect(fd, (struct sockaddr *)&kernel, sizeof kernel) < 0)
		fail("netlink socket");
	setsockopt(fd, SOL_NETLINK, NETLINK_EXT_ACK, &one, sizeof one);
	setsockopt(fd, SOL_NETLINK, NETLINK_CAP_ACK, &one, sizeof one);
	/* The kernel doubles both. */
	if (all->largest > 64 * 1024)
		set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, all->largest / 2 + 64);
	if (all->messages > 100)
		set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, all->messages * (CHARGE_OF_A_REPLY / 2));
	return fd;
}

/* Sends all datagrams. Returns how many errors there were. */
static unsigned send_all(int fd, const struct datagrams *all, char *buffer, uint64_t *latencies)
{
	uint64_t before = now();
	unsigned errors = 0;
	uint32_t length;
	size_t i = 0;

	for (size_t at = 0; at < all->size; at += 4 + length) {
		memcpy(&length, all->bytes + at, 4);
		if (send(fd, all->bytes + at + 4, length, 0) < 0)
			fail("send");
		errors += read_answers(fd, buffer);
		uint64_t after = now();

		latencies[i++] = after - before;
		before = after;
	}
	return errors;
}

int main(int argc, char **argv)
{
	if (argc != 3 && argc != 5) {
		fprintf(stderr, "usage: %s PROTOCOL FILE [ROUNDS new|here]\n", argv[0]);
		return 2;
	}
	struct datagrams all = read_file(argv[2]);
	int protocol = atoi(argv[1]), rounds = argc == 5 ? atoi(argv[3]) : 0;
	char *buffer = malloc(RECEIVE_BUFFER);
	uint64_t *latencies = calloc(all.count + 1, sizeof *latencies);
	unsigned errors = 0;

	if (!buffer || !latencies)
		fail("malloc");
	int home = open("/proc/thread-self/ns/net", O_RDONLY | O_CLOEXEC);

	for (int round = 0; round < rounds; round++) {
		if (!strcmp(argv[4], "new"))
			enter_new();
		int fd = open_socket(protocol, &all);

		errors += send_all(fd, &all, buffer, latencies);
		close(fd);
	}
	if (rounds > 0 && setns(home, CLONE_NEWNET) < 0)
		fail("setns");
	int fd = open_socket(protocol, &all);
	uint64_t cpu = cpu_microseconds(), begin = now();

	errors += send_all(fd, &all, buffer, latencies);
	uint64_t end = now();

	cpu = cpu_microseconds() - cpu;
	qsort(latencies, all.count, sizeof *latencies, compare);
	printf("{\"nanoseconds\":%llu,\"cpuMicroseconds\":%llu,\"datagrams\":%zu,\"p50\":%.3f,\"p99\":%.3f}\n",
	       (unsigned long long)(end - begin), (unsigned long long)cpu, all.count,
	       latencies[all.count / 2] / 1e3, latencies[all.count * 99 / 100] / 1e3);
	return errors ? 1 : 0;
}
