// The update of one step by Muon: orthogonalised momentum for matrices, SGD for all else.
#pragma once

#include <string.h>

#include "update.h"

enum { ROUNDS = 5 };  // of Newton and Schulz
enum { HEIGHT = 4, WIDTH = 2 };  // rows and vectors of a product that are summed at once, in registers

// Matrices on their way are upright, many rows by few columns, and filled up with zeros: rows to whole vectors, and
// their number to whole HEIGHTs.
INLINE size_t rounded_up(size_t count, size_t of) { return (count + of - 1) / of * of; }

// Floats that the largest matrix of the network needs on its way: itself twice, and two small squares.
static size_t muon_scratch(void)
{
  size_t most = 0;
  for (int i = 0; i < network.matrices; i++) {
    const size_t rows = network.matrix[i].rows, columns = network.matrix[i].columns;
    const size_t few = rows < columns ? rows : columns, many = rows < columns ? columns : rows;
    const size_t needed = 2 * (rounded_up(many, HEIGHT) + rounded_up(few, HEIGHT)) * rounded_up(few, LANES);
    if (needed > most) most = needed;
  }
  return most;
}

// A factor of a product: element (row, inner) is at[row * rows + inner * inners].
struct factor {
  const float *at;
  size_t rows, inners;
};

// HEIGHT rows and `width` vectors of: out = kept * same + share * left * right. All but left have rows of `row` floats.
INLINE void product_block(float *out, const float *same, float kept, float share, struct factor left,
                          const float *right, size_t inner, size_t row, const int width)
{
  V sums[HEIGHT][WIDTH] = {0};
  for (size_t k = 0; k < inner; k++)
    for (int h = 0; h < HEIGHT; h++)
      for (int w = 0; w < width; w++)
        sums[h][w] += left.at[h * left.rows + k * left.inners] * *(const V *)(right + k * row + w * LANES);
  for (int h = 0; h < HEIGHT; h++)
    for (int w = 0; w < width; w++) {
      const size_t at = h * row + w * LANES;
      *(V *)(out + at) = kept * *(const V *)(same + at) + share * sums[h][w];
    }
}

// The whole of it, so many rows high; out is neither factor.
static void product(float *out, const float *same, float kept, float share, struct factor left, const float *right,
                    size_t high, size_t inner, size_t row)
{
  for (size_t h = 0; h < high; h += HEIGHT, left.at += HEIGHT * left.rows)
    for (size_t w = 0; w < row; w += WIDTH * LANES) {
      const size_t at = h * row + w;
      if (row - w < WIDTH * LANES) product_block(out + at, same + at, kept, share, left, right + w, inner, row, 1);
      else product_block(out + at, same + at, kept, share, left, right + w, inner, row, WIDTH);
    }
}

// The matrix x with its singular vectors and values near 1: they end between 0.7 and 1.2. Jordan's quintic iteration
// after Newton and Schulz, as torch.optim.Muon has it; here with 32 bits. scratch: as much as x has, then twice the
// small square.
static const float *orthogonalised(float *x, size_t many, size_t few, float *scratch)
{
  const size_t row = rounded_up(few, LANES), high = rounded_up(many, HEIGHT), small = rounded_up(few, HEIGHT);
  const size_t size = high * row;
  float *next = scratch, *gram = next + size, *change = gram + small * row;
  V squares = {0};
  for (size_t i = 0; i < size; i += LANES) squares += *(V *)(x + i) * *(V *)(x + i);
  const float share = (float)(1 / fmax(sqrt(sum(~(I){0}, squares)), 1e-7));
  for (size_t i = 0; i < size; i += LANES) *(V *)(x + i) *= share;
  memset(gram, 0, sizeof(float) * small * row);  // 0 times what stood there would be no number, where that is none
  for (int round = 0; round < ROUNDS; round++) {
    product(gram, gram, 0, 1, (struct factor){x, 1, row}, x, small, many, row);
    product(change, gram, -4.7750f, 2.0315f, (struct factor){gram, row, 1}, gram, small, few, row);
    product(next, x, 3.4445f, 1, (struct factor){x, row, 1}, change, high, few, row);
    float *const last = x;
    x = next;
    next = last;
  }
  return x;
}

static void update_matrix(
    const struct rule *r, struct state s, const float *partials, int groups, struct matrix at, float *scratch)
{
  const size_t rows = at.rows, columns = at.columns, upright = rows >= columns;
  const size_t many = upright ? rows : columns, few = upright ? columns : rows, row = rounded_up(few, LANES);
  const size_t down = upright ? row : 1, across = upright ? 1 : row;  // from an element to those below and beside it
  const float momentum = (float)r->momentum, shrunk = (float)(1 - r->lr * r->decay);
  const float step = (float)(r->lr * (upright ? sqrt((double)rows / columns) : 1));
  const size_t filled = rounded_up(many, HEIGHT) * row;
  float *p = s.parameters + at.offset, *m = s.first + at.offset, *x = scratch, *gradient = scratch + filled;
  sum_gradient(partials, groups, at.offset, at.rows * at.columns, gradient);
  memset(x, 0, sizeof(float) * filled);
  for (size_t i = 0; i < rows; i++)
    for (size_t j = 0; j < columns; j++) {
      const size_t here = i * columns + j;
      m[here] += (1 - momentum) * (gradient[here] - m[here]);
      x[i * down + j * across] = gradient[here] + momentum * (m[here] - gradient[here]);
    }
  const float *moved = orthogonalised(x, many, few, scratch + filled);
  for (size_t i = 0; i < rows; i++)
    for (size_t j = 0; j < columns; j++) {
      float *weight = p + i * columns + j;
      *weight = *weight * shrunk - step * moved[i * down + j * across];
    }
}

// One thread's part: every matrix, and everything between two of them, is some thread's own.
static void update_by_muon(const struct rule *r, struct state s, const float *partials, int groups, int64_t step,
                           int thread, int threads, float *scratch)
{
  struct rule sgd = *r;
  sgd.kind = SGD;
  sgd.nesterov = 1;
  sgd.lr = r->sgd_lr;
  sgd.momentum = r->sgd_momentum;
  sgd.decay = r->sgd_decay;
  for (int i = thread; i < network.matrices; i += threads)
    update_matrix(r, s, partials, groups, network.matrix[i], scratch);
  for (int i = thread; i <= network.matrices; i += threads) {
    const struct matrix *before = network.matrix + i - 1;
    const int first = i ? before->offset + before->rows * before->columns : 0;
    const int last = i < network.matrices ? network.matrix[i].offset : network.parameters;
    update(&sgd, s, partials, groups, step, first, last);
  }
}
