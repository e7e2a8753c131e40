// Threads, one training step, prediction, batch norm's statistics, loss, optimiser.

#include "runtime.h"

#include <math.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#if defined(__linux__)
#include <sys/mman.h>
#endif

#define MOMENTUM 0.1  // share of the newest batch in the running statistics, as in torch.nn.BatchNorm2d
#define EPS 1e-5      // added to the variance
#define LARGE_PAGE ((size_t)2 << 20)  // bytes
#define SPINS 10000   // looks at a barrier before the thread lets others run

struct change {  // one stage of augmentation, drawn for every image of an epoch
  const float *inverse, *offset;              // (images, 2, 2) and (images, 2), or NULL: nothing moves
  const float *brightness, *contrast, *order; // (images), or NULL: no grey changes
  float fill;
  int32_t nearest;
};

struct images {  // a data set, and which of its images; the first of them is at `position` of the epoch
  const uint8_t *bytes;  // greys 0 to 255, or NULL and
  const float *floats;   // greys 0 to 1
  const int64_t *chosen; // or NULL: as they stand
  const int64_t *labels; // of the data set, or NULL
  int64_t position, count;
  const struct change *changes;
  int64_t change_count;
};

struct rule {  // of one step's update
  int32_t kind;  // 0 sgd, 1 adam, 2 adamw
  int32_t nesterov;
  float momentum, beta2, eps, decay;
  double lr, average;  // average: decay of the moving average, or 0
  float smoothing;
};

struct state {  // of a training; all arrays belong to the caller
  float *parameters, *running, *first, *second, *average;  // average: of parameters, then running statistics
};

struct engine {
  int threads, groups;
  V *tensors, *gradients, *scratch;
  uint16_t *masks;
  float *partials, *sums, *packed, *norms;
  struct group *group;
  float *mean, *scale;  // of the input's channels; scale is 1 / deviation
  struct state state;
  // The job at hand.
  void (*work)(struct engine *, int thread);
  struct images images;
  struct rule rule;
  uint32_t key[2];
  int64_t step;
  float *logits;
  // Threads.
  pthread_t *workers;
  pthread_mutex_t mutex;
  pthread_cond_t wake;
  atomic_int arrived, round, jobs, sleepers, stop;
};

// --- threads: the caller is thread 0; the others wait for jobs ---

static void await(struct engine *e, atomic_int *flag, int old)
{
  for (int spin = 0; spin < SPINS; spin++) {
    if (atomic_load_explicit(flag, memory_order_acquire) != old) return;
#if defined(__x86_64__)
    __builtin_ia32_pause();
#endif
  }
  pthread_mutex_lock(&e->mutex);
  atomic_fetch_add(&e->sleepers, 1);
  while (atomic_load(flag) == old) pthread_cond_wait(&e->wake, &e->mutex);
  atomic_fetch_sub(&e->sleepers, 1);
  pthread_mutex_unlock(&e->mutex);
}

static void advance(struct engine *e, atomic_int *flag)
{
  atomic_fetch_add(flag, 1);
  if (!atomic_load(&e->sleepers)) return;
  pthread_mutex_lock(&e->mutex);
  pthread_cond_broadcast(&e->wake);
  pthread_mutex_unlock(&e->mutex);
}

static void barrier(struct engine *e)
{
  if (e->threads == 1) return;
  int round = atomic_load(&e->round);
  if (atomic_fetch_add(&e->arrived, 1) + 1 < e->threads) {
    await(e, &e->round, round);
    return;
  }
  atomic_store(&e->arrived, 0);
  advance(e, &e->round);
}

struct place {
  struct engine *engine;
  int thread;
};

static void *worker(void *given)
{
  struct place place = *(struct place *)given;
  free(given);
  for (int jobs = 0;; jobs++) {
    await(place.engine, &place.engine->jobs, jobs);
    if (atomic_load(&place.engine->stop)) return NULL;
    place.engine->work(place.engine, place.thread);
  }
}

static void run(struct engine *e, void (*work)(struct engine *, int))
{
  e->work = work;
  if (e->threads > 1) advance(e, &e->jobs);
  work(e, 0);
}

static void first_and_last(int count, int parts, int part, int *first, int *last)
{
  *first = (int)((int64_t)count * part / parts);
  *last = (int)((int64_t)count * (part + 1) / parts);
}

// --- images: from the data set into a group's lanes, changed at random ---

INLINE float *pixel(V *map, int index) { return (float *)(map + index); }

static float average(const V *map, int count, int lane)
{
  double total = 0;
  for (int i = 0; i < count; i++) total += ((const float *)(map + i))[lane];
  return (float)(total / count);
}

static float bounded(float grey) { return grey < 0 ? 0 : grey > 1 ? 1 : grey; }

static void brighten(V *map, int count, int lane, float factor)
{
  for (int i = 0; i < count; i++) pixel(map, i)[lane] = bounded(pixel(map, i)[lane] * factor);
}

static void stretch(V *map, int count, int lane, float factor)
{
  float grey = average(map, count, lane);
  for (int i = 0; i < count; i++) pixel(map, i)[lane] = bounded(grey + factor * (pixel(map, i)[lane] - grey));
}

static void recolour(V *map, int count, int lane, const struct change *change, int64_t image)
{
  if (change->order[image] < 0) {
    brighten(map, count, lane, change->brightness[image]);
    stretch(map, count, lane, change->contrast[image]);
  } else {
    stretch(map, count, lane, change->contrast[image]);
    brighten(map, count, lane, change->brightness[image]);
  }
}

// Every pixel looks up where it comes from, for all lanes at once.
static void warp(const V *from, V *to, const struct change *change, const int64_t *image)
{
  const int H = network.height, W = network.width, C = network.channels;
  float m[6][LANES] __attribute__((aligned(64)));
  for (int l = 0; l < LANES; l++) {
    for (int i = 0; i < 4; i++) m[i][l] = change->inverse[4 * image[l] + i];
    for (int i = 0; i < 2; i++) m[4 + i][l] = change->offset[2 * image[l] + i];
  }
  const V xx = *(V *)m[0], xy = *(V *)m[1], yx = *(V *)m[2], yy = *(V *)m[3], right = *(V *)m[4], down = *(V *)m[5];
  const int corners = change->nearest ? 1 : 4;
  for (int y = 0; y < H; y++)
    for (int x = 0; x < W; x++) {
      const float x0 = x - (W - 1) * 0.5f, y0 = y - (H - 1) * 0.5f;
      V column = xx * x0 + (xy * y0 + right) + (W - 1) * 0.5f, row = yx * x0 + (yy * y0 + down) + (H - 1) * 0.5f;
      column = within(column, -2, W + 1);  // far outside is as good as just outside, and fits an integer
      row = within(row, -2, H + 1);
      V left = rounded(column), top = rounded(row), across[2] = {{0}, {0}}, along[2] = {{0}, {0}};  // shares
      if (corners == 4) {
        left -= where(left > column, spread(1));
        top -= where(top > row, spread(1));
        across[1] = column - left;
        along[1] = row - top;
      }
      across[0] = 1 - across[1];
      along[0] = 1 - along[1];
      const I c = __builtin_convertvector(left, I), r = __builtin_convertvector(top, I);
      int32_t place[4][LANES] __attribute__((aligned(64)));
      V weight[4];
      for (int corner = 0; corner < corners; corner++) {
        const I cc = c + (corner & 1), rr = r + (corner >> 1);
        const I inside = (cc >= 0) & (cc < W) & (rr >= 0) & (rr < H);
        *(I *)place[corner] = inside & (rr * (C * W) + cc) * LANES;
        weight[corner] = where(inside, across[corner & 1] * along[corner >> 1]);
      }
      for (int ch = 0; ch < C; ch++) {
        const float *map = (const float *)(from + ch * W);
        V grey = {0};
        for (int corner = 0; corner < corners; corner++) {
          float found[LANES] __attribute__((aligned(64)));
          for (int l = 0; l < LANES; l++) found[l] = map[place[corner][l] + l];
          grey += weight[corner] * (*(V *)found - change->fill);
        }
        to[(y * C + ch) * W + x] = grey + change->fill;
      }
    }
}

static void load(struct engine *e, struct group *g, int first)
{
  const struct images *from = &e->images;
  const int C = network.channels, H = network.height, W = network.width, size = C * H * W;
  V *map = g->tensors;
  int64_t image[LANES];  // of the epoch
  int32_t *labels = (int32_t *)&g->labels, *valid = (int32_t *)&g->valid;
  uint32_t *positions = (uint32_t *)&g->positions;
  for (int l = 0; l < LANES; l++) {
    int64_t index = first + l;
    valid[l] = index < from->count ? -1 : 0;
    if (!valid[l]) index = from->count - 1;  // a lane without an image repeats the last one, and counts for nothing
    image[l] = from->position + index;
    positions[l] = (uint32_t)image[l];
    int64_t source = from->chosen ? from->chosen[index] : image[l];
    labels[l] = from->labels ? (int32_t)from->labels[source] : 0;
    for (int ch = 0; ch < C; ch++)
      for (int y = 0; y < H; y++) {
        int64_t at = source * size + (ch * H + y) * W;
        float *out = (float *)(map + (y * C + ch) * W) + l;
        if (from->bytes)
          for (int x = 0; x < W; x++) out[x * LANES] = from->bytes[at + x] * (1 / 255.0f);
        else
          for (int x = 0; x < W; x++) out[x * LANES] = from->floats[at + x];
      }
  }
  for (int s = 0; s < from->change_count; s++) {
    const struct change *change = from->changes + s;
    if (change->brightness)
      for (int l = 0; l < LANES; l++) recolour(map, size, l, change, image[l]);
    if (change->inverse) {
      V *moved = g->scratch;
      warp(map, moved, change, image);
      memcpy(map, moved, size * sizeof(V));
    }
  }
  for (int y = 0; y < H; y++)
    for (int ch = 0; ch < C; ch++)
      for (int x = 0; x < W; x++) {
        V *at = map + (y * C + ch) * W + x;
        *at = (*at - e->mean[ch]) * e->scale[ch];
      }
}

// --- dropout: Philox 4x32-7 (Salmon, Moraes, Dror, Shaw, "Parallel random numbers: as easy as 1, 2, 3", SC 2011,
// table 2: seven rounds pass all of TestU01's BigCrush) ---

INLINE void multiply(U a, uint32_t b, U *high, U *low)
{
#if LANES == 16
  W even = (W)_mm512_mul_epu32((__m512i)a, _mm512_set1_epi64(b));
  W odd = (W)_mm512_mul_epu32((__m512i)((W)a >> 32), _mm512_set1_epi64(b));
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
      mask[word + half] = bits((I)(drawn >= threshold));
    }
  }
}

// --- loss ---

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
}

// --- batch norm: what needs the whole batch; every thread works it out for itself, in the same order ---

static void finish_norm_forward(struct engine *e, int thread, int index, int groups)
{
  const struct norm *n = network.norm + index;
  const double count = (double)e->images.count * n->pixels;
  float *rows = e->norms + (size_t)thread * network.rows + n->rows;
  const float *weight = e->state.parameters + n->weight, *bias = weight + n->channels;
  float *mean_kept = e->state.running + n->running, *variance_kept = mean_kept + n->channels;
  for (int c = 0; c < n->channels; c++) {
    double total = 0, squares = 0;
    for (int g = 0; g < groups; g++) {
      total += e->sums[(size_t)g * network.sums + n->sums + 2 * c];
      squares += e->sums[(size_t)g * network.sums + n->sums + 2 * c + 1];
    }
    double mean = total / count, variance = squares / count - mean * mean;
    if (variance < 0) variance = 0;
    if (count > 1 && thread == 0) {
      mean_kept[c] += (float)(MOMENTUM * (mean - mean_kept[c]));
      variance_kept[c] += (float)(MOMENTUM * (variance * count / (count - 1) - variance_kept[c]));
    } else if (count <= 1) {  // one value has no variance: it is normalised as in a test
      mean = mean_kept[c];
      variance = variance_kept[c];
    }
    double inverse = 1 / sqrt(variance + EPS);
    rows[SCALE * n->channels + c] = (float)(weight[c] * inverse);
    rows[SHIFT * n->channels + c] = (float)(bias[c] - mean * weight[c] * inverse);
    rows[MEAN * n->channels + c] = (float)mean;
    rows[INVERSE * n->channels + c] = (float)inverse;
  }
}

// dx = scale (dy - mean(dy) - normalised mean(dy normalised)), as scale dy + slope x + level.
static void finish_norm_backward(struct engine *e, int thread, int index, int groups)
{
  const struct norm *n = network.norm + index;
  const int C = n->channels;
  const double count = (double)e->images.count * n->pixels;
  float *rows = e->norms + (size_t)thread * network.rows + n->rows;
  for (int c = 0; c < C; c++) {
    double weight = 0, bias = 0;  // their gradients
    for (int g = 0; g < groups; g++) {
      const float *partial = e->partials + (size_t)g * network.parameters + n->weight;
      weight += partial[c];
      bias += partial[C + c];
    }
    double scale = rows[SCALE * C + c], inverse = rows[INVERSE * C + c], mean = rows[MEAN * C + c];
    double slope = count > 1 ? -scale * inverse * weight / count : 0;
    rows[SLOPE * C + c] = (float)slope;
    rows[LEVEL * C + c] = (float)(count > 1 ? -scale * bias / count - slope * mean : 0);
  }
}

static void use_running(struct engine *e, int thread)
{
  for (int i = 0; i < network.norms; i++) {
    const struct norm *n = network.norm + i;
    float *rows = e->norms + (size_t)thread * network.rows + n->rows;
    const float *weight = e->state.parameters + n->weight, *bias = weight + n->channels;
    const float *mean = e->state.running + n->running, *variance = mean + n->channels;
    for (int c = 0; c < n->channels; c++) {
      double inverse = 1 / sqrt(variance[c] + EPS);
      rows[SCALE * n->channels + c] = (float)(weight[c] * inverse);
      rows[SHIFT * n->channels + c] = (float)(bias[c] - mean[c] * weight[c] * inverse);
    }
  }
}

// --- the update: torch.optim.SGD, Adam, AdamW, and the exponential moving average ---

static void update(struct engine *e, int first, int last)
{
  const struct rule *r = &e->rule;
  struct state s = e->state;
  const double steps = (double)e->step + 1;
  const float beta1 = r->momentum, beta2 = r->beta2;
  const float size = (float)(r->kind ? r->lr / (1 - pow(r->momentum, steps)) : r->lr);
  const float root = r->kind ? (float)sqrt(1 - pow(r->beta2, steps)) : 1;
  for (int i = first; i < last; i++) {
    float gradient = 0;
    for (int g = 0; g < e->groups; g++) gradient += e->partials[(size_t)g * network.parameters + i];
    if (r->kind == 2)
      s.parameters[i] *= (float)(1 - r->lr * r->decay);
    else
      gradient += r->decay * s.parameters[i];
    if (r->kind == 0) {
      s.first[i] = beta1 * s.first[i] + gradient;
      s.parameters[i] -= size * (r->nesterov ? gradient + beta1 * s.first[i] : s.first[i]);
    } else {
      s.first[i] += (1 - beta1) * (gradient - s.first[i]);
      s.second[i] = beta2 * s.second[i] + (1 - beta2) * gradient * gradient;
      s.parameters[i] -= size * s.first[i] / (sqrtf(s.second[i]) / root + r->eps);
    }
  }
}

static void move_average(struct engine *e)
{
  const float share = e->step ? (float)(1 - e->rule.average) : 1;
  const struct state *s = &e->state;
  for (int i = 0; i < network.parameters; i++) s->average[i] += share * (s->parameters[i] - s->average[i]);
  for (int i = 0; i < network.running; i++) {
    float *kept = s->average + network.parameters + i;
    *kept += share * (s->running[i] - *kept);
  }
}

// --- one step, and prediction ---

static struct group *open_group(struct engine *e, int thread, int index, int slot)
{
  struct group *g = e->group + slot;
  g->tensors = e->tensors + (size_t)slot * network.stored;
  g->gradients = e->gradients + (size_t)slot * network.stored;
  g->masks = e->masks + (size_t)slot * network.masks;
  g->partial = e->partials + (size_t)slot * network.parameters;
  g->sums = e->sums + (size_t)slot * network.sums;
  g->scratch = e->scratch + (size_t)thread * network.scratch;
  g->parameters = e->state.parameters;
  g->packed = e->packed;
  g->norms = e->norms + (size_t)thread * network.rows;
  g->smoothing = e->rule.smoothing;
  g->share = 1.0f / (float)e->images.count;
  memcpy(g->key, e->key, sizeof g->key);
  load(e, g, index * LANES);
  return g;
}

static void train(struct engine *e, int thread)
{
  int first, last;
  first_and_last(e->groups, e->threads, thread, &first, &last);
  if (thread == 0) network.pack(e->state.parameters, e->packed);
  for (int g = first; g < last; g++) open_group(e, thread, g, g)->training = 1;
  barrier(e);
  for (int s = 0; s < network.stages; s++) {
    if (network.norm_before[s] >= 0) {
      barrier(e);
      finish_norm_forward(e, thread, network.norm_before[s], e->groups);
    }
    for (int g = first; g < last; g++) network.forward[s](e->group + g);
  }
  for (int s = network.stages - 1; s >= 0; s--) {
    if (network.norm_on[s] >= 0) {
      barrier(e);
      finish_norm_backward(e, thread, network.norm_on[s], e->groups);
    }
    for (int g = first; g < last; g++) network.backward[s](e->group + g);
  }
  barrier(e);
  first_and_last(network.parameters, e->threads, thread, &first, &last);
  update(e, first, last);
  barrier(e);
  if (thread == 0 && e->rule.average) move_average(e);
}

static void predict(struct engine *e, int thread)
{
  int first, last;
  first_and_last((int)((e->images.count + LANES - 1) / LANES), e->threads, thread, &first, &last);
  if (thread == 0) network.pack(e->state.parameters, e->packed);
  use_running(e, thread);
  barrier(e);
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
  barrier(e);
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
  if (e->workers) {
    atomic_store(&e->stop, 1);
    advance(e, &e->jobs);
    for (int t = 1; t < e->threads; t++) pthread_join(e->workers[t], NULL);
  }
  void *owned[] = {e->tensors, e->gradients, e->scratch, e->masks, e->partials, e->sums,
                   e->packed, e->norms, e->group, e->mean, e->scale, e->workers, e};
  for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
}

// An engine for batches of up to `batch` images; NULL if memory or threads cannot be had.
struct engine *engine_open(int batch, int threads, const double *mean, const double *deviation)
{
  struct engine *e = zeroed(sizeof *e);
  if (!e) return NULL;
  size_t groups = (batch + LANES - 1) / LANES, slots = groups > (size_t)threads ? groups : (size_t)threads;
  e->threads = threads;
  e->tensors = zeroed(slots * network.stored * sizeof(V));
  e->gradients = zeroed(slots * network.stored * sizeof(V));
  e->scratch = zeroed((size_t)threads * network.scratch * sizeof(V));
  e->masks = zeroed(slots * network.masks * sizeof(uint16_t));
  e->partials = zeroed(slots * network.parameters * sizeof(float));
  e->sums = zeroed(slots * network.sums * sizeof(float));
  e->packed = zeroed(network.packed * sizeof(float));
  e->norms = zeroed((size_t)threads * network.rows * sizeof(float));
  e->group = zeroed(slots * sizeof(struct group));
  e->mean = zeroed(network.channels * sizeof(float));
  e->scale = zeroed(network.channels * sizeof(float));
  if (!e->tensors || !e->gradients || !e->scratch || !e->masks || !e->partials || !e->sums || !e->packed ||
      !e->norms || !e->group || !e->mean || !e->scale) {
    engine_close(e);
    return NULL;
  }
  for (int c = 0; c < network.channels; c++) {
    e->mean[c] = (float)mean[c];
    e->scale[c] = (float)(1 / deviation[c]);
  }
  pthread_mutex_init(&e->mutex, NULL);
  pthread_cond_init(&e->wake, NULL);
  e->threads = 1;
  e->workers = zeroed(threads * sizeof(pthread_t));
  for (int t = 1; e->workers && t < threads; t++, e->threads++) {
    struct place *place = malloc(sizeof *place);
    if (!place) break;
    *place = (struct place){e, t};
    if (pthread_create(&e->workers[t], NULL, worker, place)) {
      free(place);
      break;
    }
  }
  if (e->threads == threads) return e;
  engine_close(e);
  return NULL;
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
  run(e, train);
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
  run(e, predict);
}

// Sizes that the caller checks against its own, so that a stale library is never used.
void engine_sizes(int32_t sizes[4])
{
  sizes[0] = network.parameters;
  sizes[1] = network.running;
  sizes[2] = network.outputs;
  sizes[3] = LANES;
}
