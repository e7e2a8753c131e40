// The update of one step: torch.optim.SGD, Adam and AdamW, and the exponential moving average. Muon: muon.h.
#pragma once

#include <math.h>

#include "runtime.h"

enum { SGD, ADAM, ADAMW, MUON };

struct rule {  // of one step's update
  int32_t kind;
  int32_t nesterov;
  double lr, momentum, beta2, eps, decay;  // momentum: of SGD, or Adam's first beta
  double average;                          // decay of the moving average, or 0
  double smoothing, temperature, taught_share;  // of the loss
  double sgd_lr, sgd_momentum, sgd_decay;  // of what Muon leaves to SGD
};

struct state {  // of a training; all arrays belong to the caller
  float *parameters, *running, *first, *second, *average;  // average: of parameters, then running statistics
};

// The gradient of `count` parameters from `first` on.
static void sum_gradient(const float *partials, int groups, int first, int count, float *restrict gradient)
{
  for (int i = 0; i < count; i++) gradient[i] = 0;
  for (int g = 0; g < groups; g++) {
    const float *part = partials + (size_t)g * network.parameters + first;
    for (int i = 0; i < count; i++) gradient[i] += part[i];
  }
}

// The parameters from `first` to `last`, whose gradients stand in `partials`, one part per group of images.
static void update(
    const struct rule *r, struct state s, const float *partials, int groups, int64_t step, int first, int last)
{
  const double steps = (double)step + 1;
  const float momentum = (float)r->momentum, fresh = (float)(1 - r->momentum);
  const float kept = (float)r->beta2, fresh_square = (float)(1 - r->beta2), eps = (float)r->eps;
  const float size = (float)(r->kind ? r->lr / (1 - pow(r->momentum, steps)) : r->lr);
  const float root = r->kind ? (float)sqrt(1 - pow(r->beta2, steps)) : 1;
  const float decay = (float)r->decay, shrunk = (float)(1 - r->lr * r->decay);
  enum { SOME = 256 };
  for (int begin = first; begin < last; begin += SOME) {
    const int count = last - begin < SOME ? last - begin : SOME;
    float gradient[SOME];
    sum_gradient(partials, groups, begin, count, gradient);
    float *restrict p = s.parameters + begin, *restrict m = s.first + begin, *restrict v = s.second + begin;
    if (r->kind == ADAMW)
      for (int i = 0; i < count; i++) p[i] *= shrunk;
    else
      for (int i = 0; i < count; i++) gradient[i] += decay * p[i];
    if (r->kind)
      for (int i = 0; i < count; i++) {
        m[i] += fresh * (gradient[i] - m[i]);
        v[i] = kept * v[i] + fresh_square * gradient[i] * gradient[i];
        p[i] -= size * m[i] / (sqrtf(v[i]) / root + eps);
      }
    else if (momentum == 0)
      for (int i = 0; i < count; i++) p[i] -= size * gradient[i];
    else
      for (int i = 0; i < count; i++) {
        m[i] = momentum * m[i] + gradient[i];
        p[i] -= size * (r->nesterov ? gradient[i] + momentum * m[i] : m[i]);
      }
  }
}

static void move_average(const struct rule *r, struct state s, int64_t step)
{
  const float share = step ? (float)(1 - r->average) : 1;
  for (int i = 0; i < network.parameters; i++) s.average[i] += share * (s.parameters[i] - s.average[i]);
  for (int i = 0; i < network.running; i++) {
    float *kept = s.average + network.parameters + i;
    *kept += share * (s.running[i] - *kept);
  }
}
