// Images: from the data set into a group's lanes, changed at random as in augment.py.
#pragma once

#include <string.h>

#include "runtime.h"

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
  const float *taught;   // a teacher's logits of the chosen images, (count, outputs), or NULL
};

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

// The images of a group, from the `first` of a batch on, into its lanes: changed, and normalised with `mean` and
// `scale`, 1 / deviation, of every channel.
static void load(struct group *g, const struct images *from, int first, const float *mean, const float *scale)
{
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
        *at = (*at - mean[ch]) * scale[ch];
      }
}
