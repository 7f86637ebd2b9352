// step: runs CMD and prints how many instructions it and its children executed in user
// space, by single-stepping them (ptrace(2)). A virtual machine often has no counters, and
// valgrind does not know clone3. A string instruction with a REP prefix traps once an
// iteration; it is counted once, since the instruction pointer stays.
//
// step -o FILE CMD also writes which instructions of CMD's own executable those were: an
// offset from where it is loaded a line, in hexadecimal.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#if !defined(__x86_64__)
#error "step reads the instruction pointer of x86-64"
#endif

#define MOST 4096
static struct { pid_t pid; unsigned long ip; } seen[MOST];

// Executed instructions of CMD's executable, by offset from its first byte in memory.
#define SPAN (16ul << 20)
static unsigned char executed[SPAN];
static unsigned long base;

// Where the process that has just executed a program has it, or 0 if that is not CMD's.
static unsigned long base_of(pid_t pid, const char *program) {
  char path[64];
  struct stat wanted, found;
  snprintf(path, sizeof path, "/proc/%d/exe", pid);
  if (stat(program, &wanted) < 0 || stat(path, &found) < 0) return 0;
  if (wanted.st_dev != found.st_dev || wanted.st_ino != found.st_ino) return 0;
  snprintf(path, sizeof path, "/proc/%d/maps", pid);
  FILE *maps = fopen(path, "r");
  if (!maps) return 0;
  char line[4096];
  unsigned long first = 0, inode;
  // Beside it there are only the stack and the vDSO yet, which have no inode.
  while (fgets(line, sizeof line, maps)) {
    if (sscanf(line, "%lx-%*x %*s %*x %*s %lu", &first, &inode) == 2 && inode != 0) break;
    first = 0;
  }
  fclose(maps);
  return first;
}

static unsigned long *last_ip(pid_t pid) {
  unsigned free_slot = MOST;
  for (unsigned i = 0; i < MOST; i++) {
    if (seen[i].pid == pid) return &seen[i].ip;
    if (seen[i].pid == 0 && free_slot == MOST) free_slot = i;
  }
  if (free_slot == MOST) { fputs("step: too many processes\n", stderr); exit(2); }
  seen[free_slot].pid = pid;
  seen[free_slot].ip = 0;
  return &seen[free_slot].ip;
}

static void forget(pid_t pid) {
  for (unsigned i = 0; i < MOST; i++) if (seen[i].pid == pid) seen[i].pid = 0;
}

int main(int argc, char **argv) {
  const char *out = NULL;
  if (argc > 3 && strcmp(argv[1], "-o") == 0) { out = argv[2]; argv += 2; argc -= 2; }
  if (argc < 2) return 2;
  pid_t child = fork();
  if (child < 0) return 2;
  if (child == 0) {
    int null = open("/dev/null", O_WRONLY);
    if (null >= 0) dup2(null, 1);
    ptrace(PTRACE_TRACEME, 0, 0, 0);
    raise(SIGSTOP);
    execv(argv[1], argv + 1);
    perror(argv[1]);
    _exit(127);
  }
  int status;
  if (waitpid(child, &status, 0) != child) return 2;
  long options = PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK | PTRACE_O_TRACEVFORK |
                 PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL;
  if (ptrace(PTRACE_SETOPTIONS, child, 0, options) < 0) { perror("step: ptrace"); return 2; }
  ptrace(PTRACE_CONT, child, 0, 0);
  unsigned long count = 0;
  int result = 128, counting = 0;
  for (;;) {
    pid_t pid = waitpid(-1, &status, __WALL);
    if (pid < 0) { if (errno == EINTR) continue; break; }
    if (WIFEXITED(status) || WIFSIGNALED(status)) {
      if (pid == child) result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
      forget(pid);
      continue;
    }
    int stop = WSTOPSIG(status), event = status >> 16, deliver = 0;
    if (event == PTRACE_EVENT_EXEC) {
      counting = 1;
      unsigned long found = out ? base_of(pid, argv[1]) : 0;
      if (found) base = found;
    }
    if (event == 0 && stop == SIGTRAP) {
      unsigned long ip = ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user_regs_struct, rip), 0);
      unsigned long *last = last_ip(pid);
      if (ip != *last) { *last = ip; count++; }
      if (ip - base < SPAN) executed[ip - base] = 1;
    } else if (event == 0 && stop != SIGSTOP) {
      deliver = stop;
    }
    ptrace(counting ? PTRACE_SINGLESTEP : PTRACE_CONT, pid, 0, deliver);
  }
  FILE *file = out ? fopen(out, "w") : NULL;
  if (out && !file) { perror(out); return 2; }
  for (unsigned long i = 0; file && i < SPAN; i++) if (executed[i]) fprintf(file, "%lx\n", i);
  if (file) fclose(file);
  printf("%lu\n", count);
  return result;
}
