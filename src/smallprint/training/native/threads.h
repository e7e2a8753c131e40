// Threads that share the groups of a batch: the caller is thread 0, the others wait for jobs.
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>

#define SPINS 10000  // looks at a flag before the thread sleeps: longer starves other processes, shorter costs wake-ups

struct team {
  int threads;  // the caller among them
  void (*work)(void *with, int thread);
  void *with;
  pthread_t *workers;
  pthread_mutex_t mutex;
  pthread_cond_t wake;
  atomic_int arrived, rounds, jobs, sleepers, stop;
};

// Numbers too small for a full mantissa (below 1.2e-38) cost a processor a hundred times the others' time, and the
// gradients of a network that is sure of itself are full of them: within a job they are zero. Returns what was set.
static uint64_t flush_to_zero(void)
{
  uint64_t old = 0;
#if defined(__SSE__)
  old = __builtin_ia32_stmxcsr();
  __builtin_ia32_ldmxcsr((unsigned)old | 0x8040);  // results, and operands
#elif defined(__aarch64__)
  __asm__ volatile("mrs %0, fpcr" : "=r"(old));
  __asm__ volatile("msr fpcr, %0" : : "r"(old | 1 << 24));
#endif
  return old;
}

static void restore_small_numbers(uint64_t old)
{
#if defined(__SSE__)
  __builtin_ia32_ldmxcsr((unsigned)old);
#elif defined(__aarch64__)
  __asm__ volatile("msr fpcr, %0" : : "r"(old));
#else
  (void)old;
#endif
}

static void await(struct team *t, atomic_int *flag, int old)
{
  for (int spin = 0; spin < SPINS; spin++) {
    if (atomic_load_explicit(flag, memory_order_acquire) != old) return;
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
  pthread_mutex_lock(&t->mutex);
  atomic_fetch_add(&t->sleepers, 1);
  while (atomic_load(flag) == old) pthread_cond_wait(&t->wake, &t->mutex);
  atomic_fetch_sub(&t->sleepers, 1);
  pthread_mutex_unlock(&t->mutex);
}

static void advance(struct team *t, atomic_int *flag)
{
  atomic_fetch_add(flag, 1);
  if (!atomic_load(&t->sleepers)) return;
  pthread_mutex_lock(&t->mutex);
  pthread_cond_broadcast(&t->wake);
  pthread_mutex_unlock(&t->mutex);
}

static void barrier(struct team *t)
{
  if (t->threads == 1) return;
  const int round = atomic_load(&t->rounds);
  if (atomic_fetch_add(&t->arrived, 1) + 1 < t->threads) {
    await(t, &t->rounds, round);
    return;
  }
  atomic_store(&t->arrived, 0);
  advance(t, &t->rounds);
}

static void run(struct team *t, void (*work)(void *, int), void *with)
{
  t->work = work;
  t->with = with;
  if (t->threads > 1) advance(t, &t->jobs);
  const uint64_t old = flush_to_zero();
  work(with, 0);
  restore_small_numbers(old);
}

struct place {
  struct team *team;
  int thread;
};

static void *worker(void *given)
{
  const struct place place = *(struct place *)given;
  struct team *t = place.team;
  free(given);
  flush_to_zero();
  for (int jobs = 0;; jobs++) {
    await(t, &t->jobs, jobs);
    if (atomic_load(&t->stop)) return NULL;
    t->work(t->with, place.thread);
  }
}

static void close_team(struct team *t)
{
  if (!t->workers) return;
  atomic_store(&t->stop, 1);
  advance(t, &t->jobs);
  for (int i = 1; i < t->threads; i++) pthread_join(t->workers[i], NULL);
  pthread_cond_destroy(&t->wake);
  pthread_mutex_destroy(&t->mutex);
  free(t->workers);
}

// Fills a team of zeros; 0 if so many threads cannot be had. To be closed in any case.
static int open_team(struct team *t, int threads)
{
  t->workers = calloc(threads, sizeof(pthread_t));
  if (!t->workers) return 0;
  pthread_mutex_init(&t->mutex, NULL);
  pthread_cond_init(&t->wake, NULL);
  for (t->threads = 1; t->threads < threads; t->threads++) {
    struct place *place = malloc(sizeof *place);
    if (!place) return 0;
    *place = (struct place){t, t->threads};
    if (pthread_create(&t->workers[t->threads], NULL, worker, place)) {
      free(place);
      return 0;
    }
  }
  return 1;
}
