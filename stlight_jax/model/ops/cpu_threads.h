// Work that is shared by the threads of XLA's pool.
#ifndef STLIGHT_CPU_THREADS_H_
#define STLIGHT_CPU_THREADS_H_

#include <algorithm>
#include <atomic>
#include <condition_variable>
#include <cstdint>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "xla/ffi/api/ffi.h"

namespace stlight {

constexpr int kTurns = 2000;  // of a waiting loop, about 0.1 ms

inline void Pause() {
#if defined(__x86_64__) || defined(__i386__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  asm volatile("yield");
#endif
}

// Runs task(0), ..., task(count - 1) on the pool and on the calling thread.
template <typename Task>
void ParallelFor(xla::ffi::ThreadPool& pool, int64_t count, const Task& task) {
  struct State {
    std::atomic<int64_t> next{0};
    std::mutex mutex;
    std::condition_variable changed;
    int64_t done = 0;
  };
  auto state = std::make_shared<State>();
  // A helper that starts after all tasks are taken touches nothing but the state it owns a share of, so that the
  // caller waits for work under way only, never for a busy pool.
  auto work = [state, count, &task] {
    int64_t finished = 0;
    for (int64_t i; (i = state->next.fetch_add(1)) < count; ++finished) task(i);
    if (finished == 0) return;
    std::lock_guard<std::mutex> lock(state->mutex);
    state->done += finished;
    if (state->done == count) state->changed.notify_one();
  };
  const int64_t helpers = std::min<int64_t>(pool.num_threads(), count) - 1;
  for (int64_t i = 0; i < helpers; ++i) pool.Schedule(decltype(work)(work));
  work();
  std::unique_lock<std::mutex> lock(state->mutex);
  state->changed.wait(lock, [&] { return state->done == count; });
}

// Runs phases one after the other: work.Run(phase, 0), ..., work.Run(phase, work.tasks(phase) - 1) in any order, then the next
// phase. There are `work.phases()` of them.
//
// The pool is woken once for all phases. A thread that has no task left waits in a loop for the others, since a phase of a
// small network is shorter than the time to wake a thread. A helper that the pool starts late, or never, is not waited for.
template <typename Work>
void ParallelPhases(xla::ffi::ThreadPool& pool, Work& work) {
  struct State {
    explicit State(int64_t phases) : next(phases), done(phases) {}
    std::vector<std::atomic<int64_t>> next, done;
  };
  std::vector<int64_t> sizes(work.phases());
  for (size_t phase = 0; phase < sizes.size(); ++phase) sizes[phase] = work.tasks(phase);
  auto state = std::make_shared<State>(sizes.size());
  // A helper that finds all tasks taken touches nothing but its own copies and the state that it owns a share of.
  auto run = [state, sizes, &work] {
    for (int64_t phase = 0; phase < static_cast<int64_t>(sizes.size()); ++phase) {
      for (int64_t i; (i = state->next[phase].fetch_add(1)) < sizes[phase];) {
        work.Run(phase, i);
        state->done[phase].fetch_add(1, std::memory_order_release);
      }
      for (int64_t turn = 0; state->done[phase].load(std::memory_order_acquire) < sizes[phase]; ++turn) {
        if (turn < kTurns) {
          Pause();
        } else {
          std::this_thread::yield();  // other programs may need the processor of the thread that still works
        }
      }
    }
  };
  const int64_t helpers = std::min<int64_t>(pool.num_threads(), *std::max_element(sizes.begin(), sizes.end())) - 1;
  for (int64_t i = 0; i < helpers; ++i) pool.Schedule(decltype(run)(run));
  run();
}

}  // namespace stlight

#endif  // STLIGHT_CPU_THREADS_H_
