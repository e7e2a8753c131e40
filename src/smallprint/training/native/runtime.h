// Between the fixed part (runtime.c) and the part that is written for one network (network.c).
#pragma once

#include "vectors.h"

struct group {  // LANES images on their way through the network, and where they read and write
  V *tensors;           // what stages store for this group
  V *gradients;         // of the loss with respect to it
  uint16_t *masks;      // of dropout: one bit per lane, set where the value is kept
  float *partial;       // this group's share of the parameters' gradient
  float *sums;          // NORM_SUMS values per channel of every batch norm
  V *scratch;           // of the thread
  const float *parameters;
  const float *packed;  // convolution weights in the order in which they are read
  const float *norms;   // of the thread: NORM_ROWS values per channel of every batch norm
  I valid;              // lanes that hold an image
  int training;         // dropout draws, norms sum up
  // For the loss and the draws:
  I labels;             // per lane
  U positions;          // of the images within the epoch, per lane
  uint32_t key[2];      // of this epoch's draws
  float smoothing, share;  // of the labels; 1 / images of the batch
  const float *taught;  // the teacher's logits (LANES, outputs), or NULL
  float temperature, taught_share;  // of both answers; of the loss
  double loss;          // summed over the group's images
  int correct;          // images
};

enum { SCALE, SHIFT, MEAN, INVERSE, SLOPE, LEVEL, NORM_ROWS };  // see finish_norm_*
// Of a group's values: their mean and the sum of squares about it; on the way back the gradients of scale and shift.
// These stand apart, as another thread may still read the first two when one is on its way back.
enum { MIDDLE, SQUARES, OF_SCALE, OF_SHIFT, NORM_SUMS };

struct norm {
  int scale, shift;  // offsets in the parameters; scale: -1 where it has none
  int first;         // its first channel among those of all norms, wherever norms keep values per channel
  int channels, pixels;
};

struct matrix {
  int offset;         // in the parameters
  int rows, columns;  // outputs, and inputs of one output
};

struct network {
  int parameters, running, outputs, stages, norms, matrices, logits;  // logits: where the last stage stores them
  int channels, height, width;  // of an input image
  int stored, returned, scratch;  // sizes in vectors: tensors, their gradients
  int masks, packed;              // in words, and in floats
  int normalised;                 // channels of all norms
  const struct norm *norm;              // all of them
  const struct matrix *matrix;          // likewise, in the order of the parameters
  const int *norm_before, *norm_on;  // per stage: norm of what it reads, of what it stores; or -1
  void (*const *forward)(struct group *);
  void (*const *backward)(struct group *);
  void (*pack)(const float *parameters, float *packed);
};

// Between the two files only: another library of this process has a network of its own.
#pragma GCC visibility push(hidden)

extern const struct network network;

// What a batch norm needs of a group: mean and sum of squares about it, per channel, from sums over every lane (see
// StageWriter._opened).
void sum_up(struct group *g, const V *sums, int channels, int pixels, float *to);

void draw_mask(struct group *g, uint16_t *mask, int vectors, uint32_t index, uint32_t threshold);
void cross_entropy(struct group *g, const V *logits, V *gradient, int outputs);

#pragma GCC visibility pop
