// The spatial half of a mixer block on some channels of an image, in a prediction and in the forward pass of training: the far
// convolution of the near one.
#ifndef STLIGHT_CPU_SPATIAL_H_
#define STLIGHT_CPU_SPATIAL_H_

#include <algorithm>
#include <cstdint>
#include <vector>

#include "cpu_convolution.h"
#include "cpu_stack.h"
#include "cpu_vectors.h"

namespace stlight {

// Keeps the rows of the near convolution that the far one still needs in a ring, which stays in the second-level cache.
struct Strip {
  const Shape &near, &far;
  const Weights& w;
  const Share share;
  const int64_t reach, rows;
  std::vector<float> near_weights, far_weights, ring;  // ring: [vectors, rows, width, lanes], a row at its number modulo `rows`

  Strip(const Stack& stack, const Weights& w, const Share& share)
      : near(stack.near), far(stack.far), w(w), share(share), reach(far.kernel_height / 2 * far.dilation),
        rows(std::min(2 * reach + 1, far.height)),
        near_weights(WeightsOfVectors(near, w.near, share.begin, share.begin + share.vectors, false)),
        far_weights(WeightsOfVectors(far, w.far, share.begin, share.begin + share.vectors, false)),
        ring(share.vectors * rows * far.width * kLanes) {}

  int64_t channel(int64_t vector) const { return near.first_channel(share.begin + vector); }
  // Where a row begins in images.
  int64_t at(int64_t row, int64_t vector) const { return near.pixel(share.image, row, 0) + channel(vector); }
  float* ring_row(int64_t vector, int64_t row) { return ring.data() + (vector * rows + row % rows) * far.width * kLanes; }

  // A row of the near convolution of `x`; `finish(at, value)` takes its values and where they are in images.
  template <int width, typename T, typename Finish>
  void NearRow(const T* x, int64_t row, int64_t vector, const Finish& finish) {
    const Shape& s = near;
    const T* image = x + at(0, vector);
    float* to = ring_row(vector, row);
    const Vector bias = Load(w.near_bias + channel(vector));
    const int64_t first = at(row, vector);
    const auto row_at = [&](int64_t from) { return image + from * s.width * s.channels; };
    ConvolveRow<width>(s, row_at, s.channels, near_weights.data() + vector * s.taps() * kLanes, row,
                       [&](int64_t column, Vector sum) __attribute__((always_inline)) {
                         Store(to + column * kLanes, sum + bias);
                         finish(first + column * s.channels, sum + bias);
                       });
  }

  // A row of the far convolution, which `finish` takes.
  template <int width, typename Finish>
  void FarRow(int64_t row, int64_t vector, const Finish& finish) {
    const Shape& s = far;
    const Vector bias = Load(w.far_bias + channel(vector));
    const int64_t first = at(row, vector);
    const auto row_at = [&](int64_t from) { return ring_row(vector, from); };
    ConvolveRow<width>(s, row_at, kLanes, far_weights.data() + vector * s.taps() * kLanes, row,
                       [&](int64_t column, Vector sum) __attribute__((always_inline)) {
                         finish(first + column * s.channels, sum + bias);
                       });
  }

  // Calls near_row(row) and far_row(row) for all rows, each far one as soon as its near ones are in the ring.
  template <typename Near, typename Far>
  void Walk(const Near& near_row, const Far& far_row) {
    for (int64_t row = 0, known = 0; row < far.height; ++row) {
      for (; known < std::min(row + reach + 1, far.height); ++known) near_row(known);
      far_row(row);
    }
  }
};

}  // namespace stlight

#endif  // STLIGHT_CPU_SPATIAL_H_
