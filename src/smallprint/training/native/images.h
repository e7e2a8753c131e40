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

// Images as bytes, those of the lanes one behind the other: all of a group fit into the first-level cache.
struct greys {
  const uint8_t *bytes;
  I lane;  // where each lane's image begins
};

enum { BESIDE = 4 };  // bytes around each image that may be read and count for nothing

static struct greys collect(const uint8_t *bytes, const int64_t *start, int size, uint8_t *room)
{
  struct greys greys = {.bytes = room};
  for (int l = 0; l < LANES; l++) {
    greys.lane[l] = BESIDE + l * (size + BESIDE);
    memcpy(room + greys.lane[l], bytes + start[l], size);
  }
  return greys;
}

INLINE V grey(U word, int byte) { return __builtin_convertvector((I)(word >> (8 * byte) & 255), V) * (1 / 255.0f); }

static void unpack(struct greys from, V *map)
{
  const int C = network.channels, H = network.height, W = network.width;
  for (int ch = 0; ch < C; ch++)
    for (int y = 0; y < H; y++)
      for (int x = 0; x < W; x += 4) {
        const U word = words(from.bytes, from.lane + ((ch * H + y) * W + x));
        for (int byte = 0; byte < 4 && x + byte < W; byte++) map[(y * C + ch) * W + x + byte] = grey(word, byte);
      }
}

// Every pixel looks up where it comes from, for all lanes at once: in `map`, or where there is none in `greys`. So many
// pixels within `reach` make a new one, either way.
INLINE void warp(const V *map, struct greys greys, V *to, const struct change *change, const int64_t *image, int reach)
{
  const int H = network.height, W = network.width, C = network.channels;
  float m[6][LANES] __attribute__((aligned(64)));
  I lane;
  for (int l = 0; l < LANES; l++) {
    for (int i = 0; i < 4; i++) m[i][l] = change->inverse[4 * image[l] + i];
    for (int i = 0; i < 2; i++) m[4 + i][l] = change->offset[2 * image[l] + i];
    lane[l] = l;
  }
  const V xx = *(V *)m[0], xy = *(V *)m[1], yx = *(V *)m[2], yy = *(V *)m[3], right = *(V *)m[4], down = *(V *)m[5];
  for (int y = 0; y < H; y++)
    for (int x = 0; x < W; x++) {
      const float x0 = x - (W - 1) * 0.5f, y0 = y - (H - 1) * 0.5f;
      V column = xx * x0 + (xy * y0 + right) + (W - 1) * 0.5f, row = yx * x0 + (yy * y0 + down) + (H - 1) * 0.5f;
      column = within(column, -2, W + 1);  // far outside is as good as just outside, and fits an integer
      row = within(row, -2, H + 1);
      V left = rounded(column), top = rounded(row), across[2] = {{0}, {0}}, along[2] = {{0}, {0}};  // shares
      if (reach == 2) {
        left -= where(left > column, spread(1));
        top -= where(top > row, spread(1));
        across[1] = column - left;
        along[1] = row - top;
      }
      across[0] = 1 - across[1];
      along[0] = 1 - along[1];
      const I c = __builtin_convertvector(left, I), r = __builtin_convertvector(top, I);
      for (int i = 0; i < reach; i++) {
        across[i] = where((c + i >= 0) & (c + i < W), across[i]);
        along[i] = where((r + i >= 0) & (r + i < H), along[i]);
      }
      const I near = (c >= -1) & (c < W);
      for (int ch = 0; ch < C; ch++) {
        V total = {0};
        for (int down = 0; down < reach; down++) {
          const I rr = r + down, inside = near & (rr >= 0) & (rr < H);
          if (map) {
            for (int over = 0; over < reach; over++) {
              const I cc = c + over, place = inside & (cc >= 0) & (cc < W) & ((rr * C + ch) * W + cc);
              total += along[down] * across[over] * (gather((const float *)map, place * LANES + lane) - change->fill);
            }
          } else {
            const U word = words(greys.bytes, greys.lane + (inside & ((ch * H + rr) * W + c)));
            for (int over = 0; over < reach; over++)
              total += along[down] * across[over] * (grey(word, over) - change->fill);
          }
        }
        to[(y * C + ch) * W + x] = total + change->fill;
      }
    }
}

static void warp_map(const V *map, V *to, const struct change *change, const int64_t *image)
{
  if (change->nearest)
    warp(map, (struct greys){0}, to, change, image, 1);
  else
    warp(map, (struct greys){0}, to, change, image, 2);
}

static void warp_greys(struct greys greys, V *to, const struct change *change, const int64_t *image)
{
  if (change->nearest)
    warp(NULL, greys, to, change, image, 1);
  else
    warp(NULL, greys, to, change, image, 2);
}

// The images of a group, from the `first` of a batch on, into its lanes: changed, and normalised with `mean` and
// `scale`, 1 / deviation, of every channel.
static void load(struct group *g, const struct images *from, int first, const float *mean, const float *scale)
{
  const int C = network.channels, H = network.height, W = network.width, size = C * H * W;
  V *map = g->tensors;
  int64_t image[LANES], start[LANES];  // of the epoch; its first pixel
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
    start[l] = source * size;
  }
  int done = 0;  // changes
  if (from->bytes) {
    const struct greys greys = collect(from->bytes, start, size, (uint8_t *)g->scratch);
    if (from->change_count && from->changes->inverse && !from->changes->brightness) {
      warp_greys(greys, map, from->changes, image);
      done = 1;
    } else {
      unpack(greys, map);
    }
  } else {
    for (int ch = 0; ch < C; ch++)
      for (int y = 0; y < H; y++)
        for (int l = 0; l < LANES; l++)
          for (int x = 0; x < W; x++)
            pixel(map, (y * C + ch) * W + x)[l] = from->floats[start[l] + (ch * H + y) * W + x];
  }
  for (int s = done; s < from->change_count; s++) {
    const struct change *change = from->changes + s;
    if (change->brightness)
      for (int l = 0; l < LANES; l++) recolour(map, size, l, change, image[l]);
    if (change->inverse) {
      V *moved = g->scratch;
      warp_map(map, moved, change, image);
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
