// Loss and its gradient: cross-entropy, and what a teacher adds to it.
#pragma once

#include <math.h>

#include "runtime.h"

// The teacher's logits of output k; a lane without an image repeats the last one that holds one.
static V taught(const struct group *g, int k, int outputs)
{
  V logits;
  int last = 0;
  for (int l = 0; l < LANES; l++) {
    if (((const int32_t *)&g->valid)[l]) last = l;
    ((float *)&logits)[l] = g->taught[(size_t)last * outputs + k];
  }
  return logits;
}

// Gives the teacher its share s of the loss: (1 - s) cross-entropy + s T^2 KL(teacher || student), both at the
// temperature T (Hinton, Vinyals, Dean, "Distilling the knowledge in a neural network", arXiv 1503.02531, section 2).
static void distil(struct group *g, const V *logits, V *gradient, int outputs)
{
  const float T = g->temperature, cool = 1 / T, s = g->taught_share;
  V best = logits[0], best_taught = taught(g, 0, outputs);
  for (int k = 1; k < outputs; k++) {
    const V t = taught(g, k, outputs);
    best = choose(logits[k] > best, logits[k], best);
    best_taught = choose(t > best_taught, t, best_taught);
  }
  V total = {0}, total_taught = {0}, divergence = {0};
  for (int k = 0; k < outputs; k++) {
    total += exponential((logits[k] - best) * cool);
    total_taught += exponential((taught(g, k, outputs) - best_taught) * cool);
  }
  for (int k = 0; k < outputs; k++) {
    const V x = (logits[k] - best) * cool, t = (taught(g, k, outputs) - best_taught) * cool;
    const V says = exponential(x) / total, should = exponential(t) / total_taught;
    gradient[k] = gradient[k] * (1 - s) + where(g->valid, (says - should) * (s * T * g->share));
    divergence += should * (t - x);
  }
  g->loss *= 1 - s;
  for (int l = 0; l < LANES; l++)
    if (((int32_t *)&g->valid)[l]) {
      const float *a = (const float *)&total, *b = (const float *)&total_taught, *d = (const float *)&divergence;
      g->loss += (double)s * T * T * (d[l] + log(a[l]) - log(b[l]));
    }
}

void cross_entropy(struct group *g, const V *logits, V *gradient, int outputs)
{
  V best = logits[0], exact = {0};
  I winner = {0};
  for (int k = 1; k < outputs; k++) {
    I better = logits[k] > best;
    best = choose(better, logits[k], best);
    winner = (better & k) | (~better & winner);
  }
  V total = {0}, mean = {0};
  for (int k = 0; k < outputs; k++) {
    gradient[k] = exponential(logits[k] - best);
    total += gradient[k];
    mean += logits[k] - best;
    exact = choose(g->labels == k, logits[k] - best, exact);
  }
  const float even = g->smoothing / outputs;
  for (int k = 0; k < outputs; k++) {
    V target = where(g->labels == k, spread(1 - g->smoothing)) + even;
    gradient[k] = where(g->valid, (gradient[k] / total - target) * g->share);
  }
  g->loss = 0;
  g->correct = 0;
  for (int l = 0; l < LANES; l++)
    if (((int32_t *)&g->valid)[l]) {
      float *t = (float *)&total, *x = (float *)&exact, *m = (float *)&mean;
      g->loss += log(t[l]) - (1 - g->smoothing) * x[l] - even * m[l];
      g->correct += ((int32_t *)&winner)[l] == ((int32_t *)&g->labels)[l];
    }
  if (g->taught) distil(g, logits, gradient, outputs);
}
