// The update of one step by Muon: orthogonalised momentum for matrices, SGD for all else.
#pragma once

#include <string.h>

#include "update.h"

enum { ROUNDS = 5 };  // of Newton and Schulz

// Floats that the largest matrix of the network needs on its way.
static size_t muon_scratch(void)
{
  size_t most = 0;
  for (int i = 0; i < network.matrices; i++) {
    const size_t rows = network.matrix[i].rows, columns = network.matrix[i].columns;
    const size_t few = rows < columns ? rows : columns, needed = 2 * (rows * columns + few * few);
    if (needed > most) most = needed;
  }
  return most;
}

// In place of x (many, few), the matrix with its singular vectors and values near 1: they end between 0.7 and 1.2.
// Jordan's quintic Newton-Schulz iteration, as torch.optim.Muon has it; here with 32 bits. scratch: many * few and
// 2 * few * few floats.
static void orthogonalise(float *restrict x, int many, int few, float *restrict scratch)
{
  float *next = scratch, *gram = next + (size_t)many * few, *change = gram + (size_t)few * few;
  double squares = 0;
  for (int i = 0; i < many * few; i++) squares += (double)x[i] * x[i];
  const float share = (float)(1 / fmax(sqrt(squares), 1e-7));
  for (int i = 0; i < many * few; i++) x[i] *= share;
  for (int round = 0; round < ROUNDS; round++) {
    memset(gram, 0, sizeof(float) * few * few);
    for (int k = 0; k < many; k++)
      for (int i = 0; i < few; i++)
        for (int j = 0; j < few; j++) gram[i * few + j] += x[k * few + i] * x[k * few + j];
    for (int i = 0; i < few; i++) {
      float *row = change + i * few;
      for (int j = 0; j < few; j++) row[j] = -4.7750f * gram[i * few + j];
      for (int k = 0; k < few; k++)
        for (int j = 0; j < few; j++) row[j] += 2.0315f * gram[i * few + k] * gram[k * few + j];
    }
    for (int k = 0; k < many; k++) {
      float *row = next + k * few;
      for (int j = 0; j < few; j++) row[j] = 3.4445f * x[k * few + j];
      for (int i = 0; i < few; i++)
        for (int j = 0; j < few; j++) row[j] += x[k * few + i] * change[i * few + j];
    }
    memcpy(x, next, sizeof(float) * many * few);
  }
}

static void update_matrix(
    const struct rule *r, struct state s, const float *partials, int groups, struct matrix at, float *scratch)
{
  const int size = at.rows * at.columns, upright = at.rows >= at.columns;
  const float momentum = (float)r->momentum, shrunk = (float)(1 - r->lr * r->decay);
  const float step = (float)(r->lr * (upright ? sqrt((double)at.rows / at.columns) : 1));
  float *p = s.parameters + at.offset, *m = s.first + at.offset, *x = scratch, *gradient = scratch + size;
  sum_gradient(partials, groups, at.offset, size, gradient);
  for (int row = 0; row < at.rows; row++)
    for (int column = 0; column < at.columns; column++) {
      const int i = row * at.columns + column;
      m[i] += (1 - momentum) * (gradient[i] - m[i]);
      x[upright ? i : column * at.rows + row] = gradient[i] + momentum * (m[i] - gradient[i]);
    }
  orthogonalise(x, upright ? at.rows : at.columns, upright ? at.columns : at.rows, scratch + size);
  for (int row = 0; row < at.rows; row++)
    for (int column = 0; column < at.columns; column++) {
      const int i = row * at.columns + column;
      p[i] = p[i] * shrunk - step * x[upright ? i : column * at.rows + row];
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
