/*
 * Lets libseccomp compile profiles, for tests to compare with.
 *
 * Reads lines from standard input:
 *   profile DEFAULT OPTIMIZE NATIVE ARCH...    NATIVE: keep the machine's own
 *   rule ACTION NAME COUNT [ARG OP A B]...     OP: enum scmp_compare
 *   end
 *   number ARCH NAME
 * Writes for a profile "refused RULE ERRNO" for each rule not taken, then
 * "bpf HEX"; for "number" the number, or "none".
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static void die(const char *what)
{
	printf("error %s\n", what);
	exit(1);
}

static char *word(void)
{
	char *text = strtok(NULL, " \n");

	if (text == NULL)
		die("line too short");
	return text;
}

static uint64_t number(void)
{
	return strtoull(word(), NULL, 0);
}

static scmp_filter_ctx begin(void)
{
	uint32_t action = number();
	uint32_t optimize = number();
	int keep = number();
	scmp_filter_ctx ctx = seccomp_init(action);
	char *name;
	int rc;

	if (ctx == NULL)
		die("seccomp_init");
	if (!keep && seccomp_arch_remove(ctx, SCMP_ARCH_NATIVE) != 0)
		die("seccomp_arch_remove");
	while ((name = strtok(NULL, " \n")) != NULL) {
		rc = seccomp_arch_add(ctx, seccomp_arch_resolve_name(name));
		if (rc != 0 && rc != -EEXIST)
			die("seccomp_arch_add");
	}
	if (seccomp_attr_set(ctx, SCMP_FLTATR_CTL_OPTIMIZE, optimize) != 0)
		die("optimize");
	return ctx;
}

static void rule(scmp_filter_ctx ctx, int index)
{
	struct scmp_arg_cmp cmp[6];
	uint32_t action = number();
	int syscall = seccomp_syscall_resolve_name(word());
	unsigned int count = number();
	unsigned int i;
	int rc;

	for (i = 0; i < count && i < 6; i++) {
		cmp[i].arg = number();
		cmp[i].op = number();
		cmp[i].datum_a = number();
		cmp[i].datum_b = number();
	}
	if (syscall == __NR_SCMP_ERROR)
		rc = -ENOENT;
	else
		rc = seccomp_rule_add_array(ctx, action, syscall, count, cmp);
	if (rc != 0)
		printf("refused %d %d\n", index, -rc);
}

static void end(scmp_filter_ctx ctx)
{
	int fd = memfd_create("bpf", 0);
	unsigned char bytes[8];

	if (fd < 0 || seccomp_export_bpf(ctx, fd) != 0)
		die("seccomp_export_bpf");
	lseek(fd, 0, SEEK_SET);
	printf("bpf ");
	while (read(fd, bytes, sizeof(bytes)) == sizeof(bytes))
		for (unsigned int i = 0; i < sizeof(bytes); i++)
			printf("%02x", bytes[i]);
	printf("\n");
	fflush(stdout);
	close(fd);
	seccomp_release(ctx);
}

int main(void)
{
	scmp_filter_ctx ctx = NULL;
	char *line = NULL;
	size_t size = 0;
	int rules = 0;

	setvbuf(stdout, NULL, _IOLBF, 0);
	seccomp_api_set(6);
	while (getline(&line, &size, stdin) > 0) {
		char *what = strtok(line, " \n");

		if (what == NULL) {
			continue;
		} else if (strcmp(what, "profile") == 0) {
			ctx = begin();
			rules = 0;
		} else if (strcmp(what, "rule") == 0 && ctx != NULL) {
			rule(ctx, rules++);
		} else if (strcmp(what, "end") == 0 && ctx != NULL) {
			end(ctx);
			ctx = NULL;
		} else if (strcmp(what, "number") == 0) {
			uint32_t arch = seccomp_arch_resolve_name(word());
			int nr = seccomp_syscall_resolve_name_arch(arch, word());

			if (nr == __NR_SCMP_ERROR)
				printf("none\n");
			else
				printf("%d\n", nr);
		} else {
			die("unknown line");
		}
	}
	return 0;
}
