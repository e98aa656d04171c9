/*
 * Rounds of the floors that are not timed go to namespaces of their own.
 */
#include <net/if.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* Into a new namespace: IPVS takes no destination where no device is up. */
static void enter_new(void)
{
	struct ifreq loopback = { .ifr_name = "lo", .ifr_flags = IFF_UP };

	if (unshare(CLONE_NEWNET) < 0)
		fail("unshare");
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &loopback) < 0)
		fail("loopback");
	close(fd);
}
