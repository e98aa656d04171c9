/*
 * Runs a program and says how long it took: from just before it is started to its end, without what the caller pays for starting it.
 *
 *     floor-run PROGRAM ARGUMENT...
 *
 * Writes one line of JSON to descriptor 3: nanoseconds, and the program's CPU microseconds. Exits as the program did.
 */
#include <errno.h>
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

int main(int argc, char **argv)
{
	struct timespec begin, end;
	struct rusage usage;
	pid_t child;
	int status, error;

	if (argc < 2) {
		fprintf(stderr, "usage: %s PROGRAM ARGUMENT...\n", argv[0]);
		return 2;
	}
	fcntl(3, F_SETFD, FD_CLOEXEC);
	clock_gettime(CLOCK_MONOTONIC, &begin);
	error = posix_spawnp(&child, argv[1], NULL, NULL, argv + 1, environ);
	if (error != 0) {
		fprintf(stderr, "%s: %s\n", argv[1], strerror(error));
		return 127;
	}
	while (wait4(child, &status, 0, &usage) < 0) {
		if (errno != EINTR)
			return 2;
	}
	clock_gettime(CLOCK_MONOTONIC, &end);
	dprintf(3, "{\"nanoseconds\":%lld,\"cpuMicroseconds\":%lld}\n",
		(end.tv_sec - begin.tv_sec) * 1000000000ll + end.tv_nsec - begin.tv_nsec,
		(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000ll + usage.ru_utime.tv_usec +
			usage.ru_stime.tv_usec);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}
