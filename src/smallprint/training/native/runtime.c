// One training step and prediction, and what they are made of: dropout's draws, batch norm's statistics.

#include "runtime.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#include "images.h"
#include "loss.h"
#include "muon.h"
#include "threads.h"
#include "update.h"

#define MOMENTUM 0.1  // share of the newest batch in the running statistics, as in torch.nn.BatchNorm2d
#define EPS 1e-5      // added to the variance
#define LARGE_PAGE ((size_t)2 << 20)  // bytes

struct engine {
  struct team team;
  V *tensors, *gradients, *scratch;
  uint16_t *masks;
  float *partials, *sums, *packed, *norms, *orthogonal;  // orthogonal: muon_scratch() floats per thread
  struct group *group;
  float *mean, *scale;  // of the input's channels; scale is 1 / deviation
  struct state state;
  // The job at hand.
  int groups;
  struct images images;
  struct rule rule;
  uint32_t key[2];
  int64_t step;
  float *logits;
};

static void first_and_last(int count, int parts, int part, int *first, int *last)
{
  *first = (int)((int64_t)count * part / parts);
  *last = (int)((int64_t)count * (part + 1) / parts);
}

// --- dropout: Philox 4x32-7 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011,
// table 2: seven rounds pass all of TestU01's BigCrush) ---

INLINE void multiply(U a, uint32_t b, U *high, U *low)
{
#if LANES == 16
  W even = (W)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64(b));
  W odd = (W)_mm512_mul_epu32((__m512i)((W)a >> 32), _mm512_set1_epi64(b));
#elif LANES == 8 && defined(__AVX2__)
  W even = (W)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(b));
  W odd = (W)_mm256_mul_epu32((__m256i)((W)a >> 32), _mm256_set1_epi64x(b));
#else
  W even = ((W)a & 0xffffffffu) * b, odd = ((W)a >> 32) * b;
#endif
  *low = (U)((even & 0xffffffffu) | (odd << 32));
  *high = (U)((even >> 32) | (odd & ~(W){} << 32));
}

void draw_mask(struct group *g, uint16_t *mask, int vectors, uint32_t index, uint32_t threshold)
{
  // Counter: (word / 8, image, dropout, 0); each of the four words decides for two vectors, 16 bits each.
  for (int word = 0; word < vectors; word += 8) {
    U c0 = (U){0} + (uint32_t)(word / 8), c1 = g->positions, c2 = (U){0} + index, c3 = {0};
    uint32_t k0 = g->key[0], k1 = g->key[1];
    for (int round = 0; round < 7; round++, k0 += 0x9E3779B9, k1 += 0xBB67AE85) {
      U h0, l0, h1, l1;
      multiply(c0, 0xD2511F53, &h0, &l0);
      multiply(c2, 0xCD9E8D57, &h1, &l1);
      c0 = h1 ^ c1 ^ k0;
      c1 = l1;
      c2 = h0 ^ c3 ^ k1;
      c3 = l0;
    }
    const U words[4] = {c0, c1, c2, c3};
    for (int half = 0; half < 8 && word + half < vectors; half++) {
      U drawn = words[half / 2];
      if (half % 2)
        drawn >>= 16;
      else
        drawn &= 0xffff;
      mask[word + half] = bits((I)drawn >= (int)threshold);  // signed: not every processor compares without
    }
  }
}

// --- batch norm: what needs the whole batch; every thread works it out for itself, in the same order ---

void sum_up(struct group *g, const V *sums, int channels, int pixels, float *to)
{
  const float images = sum(g->valid, spread(1)), share = 1.0f / (float)pixels;
  for (int c = 0; c < channels; c++) {
    const V *s = sums + 3 * c;
    const V mean = s[0] + s[1] * share, squares = s[2] - s[1] * s[1] * share;  // per lane
    const float middle = sum(g->valid, mean) / images;
    const V off = mean - middle;
    to[NORM_SUMS * c + MIDDLE] = middle;
    to[NORM_SUMS * c + SQUARES] = sum(g->valid, squares + off * off * (float)pixels);
  }
}

static const float *sums_of(const struct engine *e, int group, const struct norm *n, int channel)
{
  return e->sums + NORM_SUMS * ((size_t)group * network.normalised + n->first + channel);
}

static float *rows_of(const struct engine *e, int thread, const struct norm *n)
{
  return e->norms + NORM_ROWS * ((size_t)thread * network.normalised + n->first);
}

static float scale_of(const struct engine *e, const struct norm *n, int channel)
{
  return n->scale < 0 ? 1 : e->state.parameters[n->scale + channel];
}

static float *running_of(const struct engine *e, const struct norm *n)  // means; variances follow
{
  return e->state.running + 2 * n->first;
}

static double values_of(const struct engine *e, int group, const struct norm *n)  // of one channel
{
  const int64_t left = e->images.count - (int64_t)group * LANES;
  return (double)(left < LANES ? left : LANES) * n->pixels;
}

static void finish_norm_forward(struct engine *e, int thread, int index)
{
  const struct norm *n = network.norm + index;
  const double count = (double)e->images.count * n->pixels;
  const float *shift = e->state.parameters + n->shift;
  float *rows = rows_of(e, thread, n);
  float *mean_kept = running_of(e, n), *variance_kept = mean_kept + n->channels;
  for (int c = 0; c < n->channels; c++) {
    double total = 0, squares = 0;
    for (int g = 0; g < e->groups; g++) total += values_of(e, g, n) * sums_of(e, g, n, c)[MIDDLE];
    double mean = total / count;
    for (int g = 0; g < e->groups; g++) {
      const float *sums = sums_of(e, g, n, c);
      squares += sums[SQUARES] + values_of(e, g, n) * (sums[MIDDLE] - mean) * (sums[MIDDLE] - mean);
    }
    double variance = squares < 0 ? 0 : squares / count;
    if (count > 1 && thread == 0) {
      mean_kept[c] += (float)(MOMENTUM * (mean - mean_kept[c]));
      variance_kept[c] += (float)(MOMENTUM * (variance * count / (count - 1) - variance_kept[c]));
    } else if (count <= 1) {  // one value has no variance: it is normalised as in a test
      mean = mean_kept[c];
      variance = variance_kept[c];
    }
    const double inverse = 1 / sqrt(variance + EPS);
    const float scale = scale_of(e, n, c);
    rows[SCALE * n->channels + c] = (float)(scale * inverse);
    rows[SHIFT * n->channels + c] = (float)(shift[c] - mean * scale * inverse);
    rows[MEAN * n->channels + c] = (float)mean;
    rows[INVERSE * n->channels + c] = (float)inverse;
  }
}

// dx = scale (dy - mean(dy) - normalised mean(dy normalised)), as scale dy + slope x + level.
static void finish_norm_backward(struct engine *e, int thread, int index)
{
  const struct norm *n = network.norm + index;
  const int C = n->channels;
  const double count = (double)e->images.count * n->pixels;
  float *rows = rows_of(e, thread, n);
  for (int c = 0; c < C; c++) {
    double of_scale = 0, of_shift = 0;  // gradients
    for (int g = 0; g < e->groups; g++) {
      const float *sums = sums_of(e, g, n, c);
      of_scale += sums[OF_SCALE];
      of_shift += sums[OF_SHIFT];
    }
    double scale = rows[SCALE * C + c], inverse = rows[INVERSE * C + c], mean = rows[MEAN * C + c];
    double slope = count > 1 ? -scale * inverse * of_scale / count : 0;
    rows[SLOPE * C + c] = (float)slope;
    rows[LEVEL * C + c] = (float)(count > 1 ? -scale * of_shift / count - slope * mean : 0);
  }
}

static void use_running(struct engine *e, int thread)
{
  for (int i = 0; i < network.norms; i++) {
    const struct norm *n = network.norm + i;
    float *rows = rows_of(e, thread, n);
    const float *shift = e->state.parameters + n->shift, *mean = running_of(e, n), *variance = mean + n->channels;
    for (int c = 0; c < n->channels; c++) {
      const double inverse = 1 / sqrt(variance[c] + EPS);
      const float scale = scale_of(e, n, c);
      rows[SCALE * n->channels + c] = (float)(scale * inverse);
      rows[SHIFT * n->channels + c] = (float)(shift[c] - mean[c] * scale * inverse);
    }
  }
}

// --- one step, and prediction ---

static struct group *open_group(struct engine *e, int thread, int index, int slot)
{
  struct group *g = e->group + slot;
  g->tensors = e->tensors + (size_t)slot * network.stored;
  g->gradients = e->gradients + (size_t)slot * network.returned;
  g->masks = e->masks + (size_t)slot * network.masks;
  g->partial = e->partials + (size_t)slot * network.parameters;
  g->sums = e->sums + NORM_SUMS * (size_t)slot * network.normalised;
  g->scratch = e->scratch + (size_t)thread * network.scratch;
  g->parameters = e->state.parameters;
  g->packed = e->packed;
  g->norms = e->norms + NORM_ROWS * (size_t)thread * network.normalised;
  g->smoothing = (float)e->rule.smoothing;
  g->temperature = (float)e->rule.temperature;
  g->taught_share = (float)e->rule.taught_share;
  g->taught = e->images.taught ? e->images.taught + (size_t)index * LANES * network.outputs : NULL;
  g->share = 1.0f / (float)e->images.count;
  memcpy(g->key, e->key, sizeof g->key);
  load(g, &e->images, index * LANES, e->mean, e->scale);
  return g;
}

static void train(void *engine, int thread)
{
  struct engine *e = engine;
  int first, last;
  first_and_last(e->groups, e->team.threads, thread, &first, &last);
  if (thread == 0) network.pack(e->state.parameters, e->packed);
  for (int g = first; g < last; g++) open_group(e, thread, g, g)->training = 1;
  barrier(&e->team);
  for (int s = 0; s < network.stages; s++) {
    if (network.norm_before[s] >= 0) {
      barrier(&e->team);
      finish_norm_forward(e, thread, network.norm_before[s]);
    }
    for (int g = first; g < last; g++) network.forward[s](e->group + g);
  }
  for (int s = network.stages - 1; s >= 0; s--) {
    if (network.norm_on[s] >= 0) {
      barrier(&e->team);
      finish_norm_backward(e, thread, network.norm_on[s]);
    }
    for (int g = first; g < last; g++) network.backward[s](e->group + g);
  }
  barrier(&e->team);
  first_and_last(network.parameters, e->team.threads, thread, &first, &last);
  if (e->rule.kind == MUON)
    update_by_muon(&e->rule, e->state, e->partials, e->groups, e->step, thread, e->team.threads,
                   e->orthogonal + thread * muon_scratch());
  else
    update(&e->rule, e->state, e->partials, e->groups, e->step, first, last);
  barrier(&e->team);
  if (thread == 0 && e->rule.average) move_average(&e->rule, e->state, e->step);
}

static void predict(void *engine, int thread)
{
  struct engine *e = engine;
  int first, last;
  first_and_last(e->groups, e->team.threads, thread, &first, &last);
  if (thread == 0) network.pack(e->state.parameters, e->packed);
  use_running(e, thread);
  barrier(&e->team);
  for (int index = first; index < last; index++) {
    struct group *g = open_group(e, thread, index, thread);
    g->training = 0;
    memset(g->masks, 0xff, network.masks * sizeof *g->masks);
    for (int s = 0; s < network.stages; s++) network.forward[s](g);
    const V *logits = g->tensors + network.logits;
    for (int l = 0; l < LANES && index * LANES + l < e->images.count; l++)
      for (int k = 0; k < network.outputs; k++)
        e->logits[((size_t)index * LANES + l) * network.outputs + k] = ((const float *)(logits + k))[l];
  }
  barrier(&e->team);
}

// --- the door ---

static void *zeroed(size_t bytes)
{
  const size_t page = bytes > LARGE_PAGE ? LARGE_PAGE : 64, size = (bytes / page + 1) * page;
  void *memory = aligned_alloc(page, size);
#ifdef MADV_HUGEPAGE
  if (memory && page == LARGE_PAGE) madvise(memory, size, MADV_HUGEPAGE);
#endif
  if (memory) memset(memory, 0, size);
  return memory;
}

void engine_close(struct engine *e)
{
  if (!e) return;
  close_team(&e->team);
  void *owned[] = {e->tensors, e->gradients, e->scratch, e->masks, e->partials, e->sums,
                   e->packed, e->norms, e->orthogonal, e->group, e->mean, e->scale, e};
  for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
}

// An engine for batches of up to `batch` images; NULL if memory or threads cannot be had.
struct engine *engine_open(int batch, int threads, const double *mean, const double *deviation)
{
  struct engine *e = zeroed(sizeof *e);
  if (!e) return NULL;
  const size_t groups = ((size_t)batch + LANES - 1) / LANES, slots = groups > (size_t)threads ? groups : (size_t)threads;
  const int whole =
      (e->tensors = zeroed(slots * network.stored * sizeof(V))) &&
      (e->gradients = zeroed(slots * network.returned * sizeof(V))) &&
      (e->scratch = zeroed((size_t)threads * network.scratch * sizeof(V))) &&
      (e->masks = zeroed(slots * network.masks * sizeof(uint16_t))) &&
      (e->partials = zeroed(slots * network.parameters * sizeof(float))) &&
      (e->sums = zeroed(slots * network.normalised * NORM_SUMS * sizeof(float))) &&
      (e->packed = zeroed(network.packed * sizeof(float))) &&
      (e->norms = zeroed((size_t)threads * network.normalised * NORM_ROWS * sizeof(float))) &&
      (e->orthogonal = zeroed((size_t)threads * muon_scratch() * sizeof(float))) &&
      (e->group = zeroed(slots * sizeof(struct group))) &&
      (e->mean = zeroed(network.channels * sizeof(float))) &&
      (e->scale = zeroed(network.channels * sizeof(float))) && open_team(&e->team, threads);
  if (!whole) {
    engine_close(e);
    return NULL;
  }
  for (int c = 0; c < network.channels; c++) {
    e->mean[c] = (float)mean[c];
    e->scale[c] = (float)(1 / deviation[c]);
  }
  return e;
}

// One step of training on a batch; what it adds to the epoch's loss and correct images.
void engine_train(struct engine *e, const struct state *state, const struct images *images, const struct rule *rule,
                  const uint32_t *key, int64_t step, double *loss, int64_t *correct)
{
  e->state = *state;
  e->images = *images;
  e->rule = *rule;
  e->step = step;
  memcpy(e->key, key, sizeof e->key);
  e->groups = (int)((images->count + LANES - 1) / LANES);
  run(&e->team, train, e);
  for (int g = 0; g < e->groups; g++) {
    *loss += e->group[g].loss;
    *correct += e->group[g].correct;
  }
}

// The logits (count, outputs) of images, with the state's running statistics.
void engine_predict(struct engine *e, const struct state *state, const struct images *images, float *logits)
{
  e->state = *state;
  e->images = *images;
  e->logits = logits;
  e->groups = (int)((images->count + LANES - 1) / LANES);
  run(&e->team, predict, e);
}

// What the caller checks against its own, so that a library of another network or release is never used.
void engine_sizes(int32_t sizes[7])
{
  const int32_t found[] = {network.parameters, network.running, network.outputs, sizeof(struct change),
                           sizeof(struct images), sizeof(struct rule), sizeof(struct state)};
  memcpy(sizes, found, sizeof found);
}
