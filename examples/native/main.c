/*
 * Judge a small CNN on handwritten digits, train it on, judge it again: machine code only, no Python.
 * export.py beside this file writes what it needs, and says how to build and run it.
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "digits.h"
#include "digits_step.h"

#define BATCH (DIGITS_IMAGES_SIZE / 64)
#define CLASSES (DIGITS_OUTPUT_SIZE / BATCH)
#define EPOCHS 5

typedef struct {
    float image[64];
    int64_t label;
} digit_t;

typedef struct {
    digit_t *digits;
    size_t count;
} data_t;

/* Instances are large: they lie best outside of the stack. */
static digits_t classifier;
static digits_step_t trainer;

static void stop(const char *what, const char *which)
{
    fprintf(stderr, "%s%s\n", what, which);
    exit(1);
}

static data_t read_data(const char *folder, const char *name)
{
    char path[1024];
    data_t data = {NULL, 0};
    FILE *file;
    long bytes;
    snprintf(path, sizeof path, "%s/%s", folder, name);
    file = fopen(path, "rb");
    if (!file || fseek(file, 0, SEEK_END) || (bytes = ftell(file)) <= 0)
        stop("cannot read ", path);
    rewind(file);
    data.count = (size_t)bytes / sizeof(digit_t);
    data.digits = malloc(data.count * sizeof(digit_t));
    if (!data.digits || fread(data.digits, sizeof(digit_t), data.count, file) != data.count)
        stop("cannot read ", path);
    fclose(file);
    return data;
}

/* The batch that begins at one digit; how many digits it has. What is left of the arrays stays as it was. */
static size_t take(data_t data, size_t first, float *images, int64_t *labels)
{
    size_t i, count = data.count - first < BATCH ? data.count - first : BATCH;
    for (i = 0; i < count; i++) {
        memcpy(images + 64 * i, data.digits[first + i].image, sizeof data.digits->image);
        labels[i] = data.digits[first + i].label;
    }
    return count;
}

static double accuracy(data_t data)
{
    static float images[DIGITS_IMAGES_SIZE], logits[DIGITS_OUTPUT_SIZE];
    int64_t labels[BATCH];
    size_t first, i, right = 0;
    for (first = 0; first < data.count; first += BATCH) {
        size_t count = take(data, first, images, labels);
        int code = digits_run(&classifier, images, logits);
        if (code)
            stop("judging: ", digits_error(code));
        for (i = 0; i < count; i++) {
            const float *own = logits + CLASSES * i;
            int64_t best = 0, k;
            for (k = 1; k < CLASSES; k++)
                best = own[k] > own[best] ? k : best;
            right += best == labels[i];
        }
    }
    return 100.0 * (double)right / (double)data.count;
}

/* One pass over the data, the last digits left out where they make no whole batch; the mean loss. */
static double train(data_t data)
{
    static float images[DIGITS_STEP_IMAGES_SIZE];
    int64_t labels[DIGITS_STEP_TARGET_SIZE];
    double sum = 0;
    size_t first, steps = 0;
    for (first = 0; first + BATCH <= data.count; first += BATCH, steps++) {
        float loss;
        int code;
        take(data, first, images, labels);
        code = digits_step_run(&trainer, images, labels, &loss);
        if (code)
            stop("training: ", digits_step_error(code));
        sum += loss;
    }
    return sum / (double)steps;
}

int main(int count, char **arguments)
{
    data_t training, test;
    int epoch;
    if (count != 2)
        stop("give the folder that export.py has written to: ", "main runs/native");
    training = read_data(arguments[1], "train.bin");
    test = read_data(arguments[1], "test.bin");

    digits_init(&classifier);
    digits_step_init(&trainer);
    printf("%.2f %% of %u digits known\n", accuracy(test), (unsigned)test.count);

    for (epoch = 1; epoch <= EPOCHS; epoch++)
        printf("epoch %d: loss %.6f\n", epoch, train(training));

    /* Let the classifier read the weights that were trained, where they lie. */
    classifier.features_0_weight = trainer.features_0_weight;
    classifier.features_0_bias = trainer.features_0_bias;
    classifier.features_1_weight = trainer.features_1_weight;
    classifier.features_1_bias = trainer.features_1_bias;
    classifier.features_1_running_mean = trainer.features_1_running_mean;
    classifier.features_1_running_var = trainer.features_1_running_var;
    classifier.classifier_1_weight = trainer.classifier_1_weight;
    classifier.classifier_1_bias = trainer.classifier_1_bias;
    digits_prepare(&classifier);
    printf("%.2f %% of %u digits known\n", accuracy(test), (unsigned)test.count);

    free(training.digits);
    free(test.digits);
    return 0;
}
