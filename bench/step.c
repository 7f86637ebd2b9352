// step: runs CMD and prints how many instructions it and its children executed in user
// space, by single-stepping them (ptrace(2)). A virtual machine often has no counters, and
// valgrind does not know clone3. A string instruction with a REP prefix traps once an
// iteration; it is counted once, since the instruction pointer stays.
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ptrace.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

#if !defined(__x86_64__)
#error "step reads the instruction pointer of x86-64"
#endif

#define MOST 4096
static struct { pid_t pid; unsigned long ip; } seen[MOST];

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
    if (event == PTRACE_EVENT_EXEC) counting = 1;
    if (event == 0 && stop == SIGTRAP) {
      unsigned long ip = ptrace(PTRACE_PEEKUSER, pid, offsetof(struct user_regs_struct, rip), 0);
      unsigned long *last = last_ip(pid);
      if (ip != *last) { *last = ip; count++; }
    } else if (event == 0 && stop != SIGSTOP) {
      deliver = stop;
    }
    ptrace(counting ? PTRACE_SINGLESTEP : PTRACE_CONT, pid, 0, deliver);
  }
  printf("%lu\n", count);
  return result;
}
