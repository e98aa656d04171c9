/*
 * The floor of the NFLOG benchmark: binds a group, reads what is logged to it, and counts. Nothing is made of the packets.
 *
 *     floor-nflog GROUP COPY_BYTES PACKETS HUNDREDTHS BATCH_BYTES RECEIVE_BUFFER COUNT
 *
 * The middle five are what the log is set up with: bytes copied of each packet, packets and hundredths of a second of a batch, its bytes,
 * bytes of the socket's receive buffer. Prints "ready" when the group is bound; ends when COUNT packets have been read or are known to be
 * lost, or at SIGTERM. Then prints one line of JSON: packets, those lost by their sequence numbers, CPU microseconds, and the median and 99th
 * percentile of the microseconds since native/flood.c sent them.
 */
#include <arpa/inet.h>
#include <endian.h>
#include <errno.h>
#include <linux/netfilter/nfnetlink.h>
#include <linux/netfilter/nfnetlink_log.h>
#include <linux/netlink.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>

#include "floor.h"

enum { LARGEST_DATAGRAM = 256 * 1024, MONOTONIC_STAMP = 16 };

static volatile sig_atomic_t ended;

static void end(int signal)
{
	(void)signal;
	ended = 1;
}

static char *attribute(char *at, int type, const void *value, int length)
{
	struct nlattr *header = (struct nlattr *)at;

	header->nla_type = type;
	header->nla_len = NLA_HDRLEN + length;
	memcpy(at + NLA_HDRLEN, value, length);
	return at + NLA_ALIGN(header->nla_len);
}

static void bind_group(int fd, char **argv)
{
	union {
		struct nlmsghdr header;
		char bytes[256];
	} request = { 0 };
	struct nfgenmsg *message = NLMSG_DATA(&request.header);
	char *at = (char *)message + NLMSG_ALIGN(sizeof *message);
	struct nfulnl_msg_config_cmd command = { .command = NFULNL_CFG_CMD_BIND };
	struct nfulnl_msg_config_mode mode = { .copy_range = htonl(atoi(argv[2])), .copy_mode = NFULNL_COPY_PACKET };
	uint32_t packets = htonl(atoi(argv[3])), hundredths = htonl(atoi(argv[4])), bytes = htonl(atoi(argv[5]));
	uint16_t flags = htons(NFULNL_CFG_F_SEQ);

	message->res_id = htons(atoi(argv[1]));
	at = attribute(at, NFULA_CFG_CMD, &command, sizeof command);
	at = attribute(at, NFULA_CFG_MODE, &mode, sizeof mode);
	at = attribute(at, NFULA_CFG_NLBUFSIZ, &bytes, sizeof bytes);
	at = attribute(at, NFULA_CFG_TIMEOUT, &hundredths, sizeof hundredths);
	at = attribute(at, NFULA_CFG_QTHRESH, &packets, sizeof packets);
	at = attribute(at, NFULA_CFG_FLAGS, &flags, sizeof flags);
	request.header.nlmsg_type = NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_CONFIG;
	request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_ACK;
	request.header.nlmsg_len = at - request.bytes;
	if (send(fd, &request, request.header.nlmsg_len, 0) < 0)
		fail("send");
	char answer[1024];

	if (recv(fd, answer, sizeof answer, 0) < (ssize_t)NLMSG_LENGTH(sizeof(struct nlmsgerr)))
		fail("recv");
	errno = -((struct nlmsgerr *)NLMSG_DATA((struct nlmsghdr *)answer))->error;
	if (errno != 0)
		fail("bind");
}

static uint64_t received, lost, limit;
static uint32_t expected, *latencies;
static size_t timed;

static void packet(const char *at, const char *end, uint64_t read_at)
{
	while (end - at >= NLA_HDRLEN) {
		const struct nlattr *header = (const struct nlattr *)at;
		const char *value = at + NLA_HDRLEN;

		if (header->nla_len < NLA_HDRLEN || header->nla_len > end - at)
			break;
		if (header->nla_type == NFULA_SEQ) {
			uint32_t sequence;

			memcpy(&sequence, value, 4);
			sequence = ntohl(sequence);
			lost += (uint32_t)(sequence - expected);
			expected = sequence + 1;
		} else if (header->nla_type == NFULA_PAYLOAD) {
			const char *payload = value + (value[0] >> 4 == 6 ? 48 : 28);

			if (payload + MONOTONIC_STAMP + 8 <= at + header->nla_len && timed < limit) {
				uint64_t stamp;

				memcpy(&stamp, payload + MONOTONIC_STAMP, 8);
				latencies[timed++] = read_at - be64toh(stamp);
			}
		}
		at += NLA_ALIGN(header->nla_len);
	}
	received++;
}

int main(int argc, char **argv)
{
	struct sockaddr_nl kernel = { .nl_family = AF_NETLINK };
	struct sigaction action = { .sa_handler = end };
	int one = 1;

	if (argc != 8) {
		fprintf(stderr, "usage: %s GROUP COPY_BYTES PACKETS HUNDREDTHS BATCH_BYTES RECEIVE_BUFFER COUNT\n", argv[0]);
		return 2;
	}
	sigaction(SIGTERM, &action, NULL);
	limit = strtoull(argv[7], NULL, 10);
	int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_NETFILTER), half = atoi(argv[6]) / 2;
	char *buffer = malloc(LARGEST_DATAGRAM);

	latencies = malloc((limit + 1) * sizeof *latencies);
	if (!buffer || !latencies)
		fail("malloc");
	memset(latencies, 0, (limit + 1) * sizeof *latencies);
	if (fd < 0 || bind(fd, (struct sockaddr *)&kernel, sizeof kernel) < 0 ||
	    connect(fd, (struct sockaddr *)&kernel, sizeof kernel) < 0)
		fail("netlink socket");
	setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &one, sizeof one);
	if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &half, sizeof half) < 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &half, sizeof half);
	bind_group(fd, argv);
	printf("ready\n");
	fflush(stdout);

	uint64_t cpu = cpu_microseconds();

	while (!ended && received + lost < limit) {
		ssize_t length = recv(fd, buffer, LARGEST_DATAGRAM, 0);

		if (length < 0) {
			if (errno == EINTR)
				continue;
			fail("recv");
		}
		uint64_t read_at = now();
		const struct nlmsghdr *header = (const struct nlmsghdr *)buffer;

		for (; NLMSG_OK(header, length); header = NLMSG_NEXT(header, length))
			if (header->nlmsg_type == (NFNL_SUBSYS_ULOG << 8 | NFULNL_MSG_PACKET))
				packet((const char *)NLMSG_DATA(header) + NLMSG_ALIGN(sizeof(struct nfgenmsg)),
				       (const char *)header + header->nlmsg_len, read_at);
	}
	cpu = cpu_microseconds() - cpu;
	qsort(latencies, timed, sizeof *latencies, compare);
	printf("{\"packets\":%llu,\"lost\":%llu,\"cpuMicroseconds\":%llu,\"p50\":%.3f,\"p99\":%.3f}\n",
	       (unsigned long long)received, (unsigned long long)lost, (unsigned long long)cpu,
	       timed ? latencies[timed / 2] / 1e3 : 0, timed ? latencies[timed * 99 / 100] / 1e3 : 0);
	return 0;
}
