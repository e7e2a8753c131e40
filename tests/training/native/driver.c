// A small training without Python, for the sanitizers: runtime.c and a network.c, noise for images, two threads.
#include "runtime.c"

#include <stdio.h>

static uint32_t noise(uint32_t *seed) { return *seed = *seed * 1664525 + 1013904223; }

static float *filled(size_t count, float largest, uint32_t *seed)
{
  float *values = malloc(count * sizeof(float));
  for (size_t i = 0; i < count; i++) values[i] = largest * ((float)(noise(seed) >> 8) / 8388608.0f - 1);
  return values;
}

int main(int argc, char **argv)
{
  const int threads = argc > 1 ? atoi(argv[1]) : 2, batch = 21, images = 45, size = network.channels * network.height * network.width;
  uint32_t seed = 1;
  double mean[network.channels], deviation[network.channels];
  for (int c = 0; c < network.channels; c++) mean[c] = deviation[c] = 0.3;
  uint8_t *bytes = malloc((size_t)images * size);
  int64_t *labels = malloc(images * sizeof *labels), *chosen = malloc(images * sizeof *chosen);
  for (int i = 0; i < images * size; i++) bytes[i] = (uint8_t)(noise(&seed) >> 24);
  for (int i = 0; i < images; i++) labels[i] = (noise(&seed) >> 8) % network.outputs, chosen[i] = (i * 7) % images;
  const size_t p = network.parameters, r = network.running;
  struct state state = {filled(p, 0.3f, &seed), filled(r, 0.1f, &seed), filled(p, 0, &seed), filled(p, 0, &seed), filled(p + r, 0, &seed)};
  for (size_t i = 0; i < r; i++) state.running[i] = state.running[i] < 0 ? -state.running[i] : state.running[i];
  struct change changes[2] = {
      {.inverse = filled(4 * images, 1, &seed), .offset = filled(2 * images, 9, &seed), .fill = 0.5f},
      {.inverse = filled(4 * images, 1, &seed), .offset = filled(2 * images, 2, &seed), .nearest = 1,
       .brightness = filled(images, 1, &seed), .contrast = filled(images, 1, &seed), .order = filled(images, 1, &seed)}};
  struct rule rule = {.lr = 1e-3, .momentum = 0.9, .beta2 = 0.999, .eps = 1e-8, .average = 0.9, .smoothing = 0.1,
                      .sgd_lr = 1e-2, .sgd_momentum = 0.9};
  struct engine *e = engine_open(batch, threads, mean, deviation);
  if (!e) return 1;
  const uint32_t key[2] = {1, 2};
  for (int step = 0; step < 3; step++) {
    const int first = step * batch, count = first + batch < images ? batch : images - first;
    struct images from = {.bytes = bytes, .chosen = chosen + first, .labels = labels, .position = first, .count = count,
                          .changes = changes, .change_count = 2};
    double loss = 0;
    int64_t correct = 0;
    rule.kind = step < 2 ? ADAM : MUON;
    engine_train(e, &state, &from, &rule, key, step, &loss, &correct);
    printf("%.6f %d\n", loss / count, (int)correct);
  }
  float *logits = malloc((size_t)images * network.outputs * sizeof *logits);
  engine_predict(e, &state, &(struct images){.bytes = bytes, .count = images}, logits);
  double total = 0;
  for (int i = 0; i < images * network.outputs; i++) total += logits[i];
  printf("%.4f\n", total);
  engine_close(e);
  float *owned[] = {state.parameters, state.running, state.first, state.second, state.average, logits,
                    (float *)changes[1].brightness, (float *)changes[1].contrast, (float *)changes[1].order};
  for (size_t i = 0; i < sizeof owned / sizeof *owned; i++) free(owned[i]);
  for (int i = 0; i < 2; i++) free((float *)changes[i].inverse), free((float *)changes[i].offset);
  free(bytes), free(labels), free(chosen);
  return 0;
}
