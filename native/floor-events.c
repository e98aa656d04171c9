/*
 * The floor of the benchmark of events: joins a multicast group of nfnetlink, and counts the messages that come. Nothing is made of them.
 *
 *     floor-events GROUP RECEIVE_BUFFER COUNT
 *
 * Prints "ready" when the group is joined; ends when COUNT messages have been read, or at SIGTERM. Then prints one line of JSON: messages,
 * nanoseconds from the first to the last, and CPU microseconds.
 */
#include <errno.h>
#include <linux/netlink.h>
#include <signal.h>
#include <sys/socket.h>

#include "floor.h"

enum { LARGEST_DATAGRAM = 128 * 1024 };

static volatile sig_atomic_t ended;

static void end(int signal)
{
	(void)signal;
	ended = 1;
}

int main(int argc, char **argv)
{
	static char buffer[LARGEST_DATAGRAM];
	struct sockaddr_nl own = { .nl_family = AF_NETLINK };
	struct sigaction action = { .sa_handler = end };
	uint64_t received = 0, first = 0, last = 0;

	if (argc != 4) {
		fprintf(stderr, "usage: %s GROUP RECEIVE_BUFFER COUNT\n", argv[0]);
		return 2;
	}
	int group = atoi(argv[1]), size = atoi(argv[2]);
	uint64_t limit = strtoull(argv[3], NULL, 10);
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER);

	if (fd < 0 || bind(fd, (struct sockaddr *)&own, sizeof own) < 0)
		fail("socket");
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
	if (setsockopt(fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, &group, sizeof group) < 0)
		fail("membership");
	sigaction(SIGTERM, &action, NULL);
	puts("ready");
	fflush(stdout);
	while (!ended && received < limit) {
		ssize_t length = recv(fd, buffer, sizeof buffer, 0);

		if (length < 0 && (errno == ENOBUFS || errno == EINTR))
			continue;
		if (length < 0)
			fail("recv");
		last = now();
		if (first == 0)
			first = last;
		for (struct nlmsghdr *header = (struct nlmsghdr *)buffer; NLMSG_OK(header, length);
		     header = NLMSG_NEXT(header, length))
			received++;
	}
	/* There are no latencies to sort. */
	(void)compare;
	printf("{\"events\":%llu,\"nanoseconds\":%llu,\"cpuMicroseconds\":%llu}\n", (unsigned long long)received,
	       (unsigned long long)(last - first), (unsigned long long)cpu_microseconds());
	return 0;
}
