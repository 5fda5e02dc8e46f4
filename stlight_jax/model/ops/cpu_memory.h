// Memory that XLA gives to a kernel.
#ifndef STLIGHT_CPU_MEMORY_H_
#define STLIGHT_CPU_MEMORY_H_

#include <cstdint>

#if defined(__linux__)
#include <sys/mman.h>
#endif

namespace stlight {

// Asks for large pages where a kernel is going to write first. XLA allocates the arrays anew at each call, and where the C
// library does not keep freed memory (`training/kept_memory.py`), a training step spends a quarter of its time in the faults of
// small pages.
inline void PreferLargePages(void* begin, int64_t bytes) {
#if defined(MADV_HUGEPAGE)
  constexpr uintptr_t page = uintptr_t{1} << 21;
  const uintptr_t first = (reinterpret_cast<uintptr_t>(begin) + page - 1) & ~(page - 1);
  const uintptr_t last = (reinterpret_cast<uintptr_t>(begin) + bytes) & ~(page - 1);
  if (last > first) madvise(reinterpret_cast<void*>(first), last - first, MADV_HUGEPAGE);  // advice: failing is no error
#endif
}

}  // namespace stlight

#endif  // STLIGHT_CPU_MEMORY_H_
