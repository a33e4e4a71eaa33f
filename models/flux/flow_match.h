/*
 * flow_match - the flow-match Euler schedule of FLUX.1-Fill: the noise level sigma at each step.
 *
 *   s_i      float64 linspace from 1 to 1/N, rounded to f32           i = 0 .. N-1
 *   mu       line through (256 tokens, 0.5) and (4096, 1.15), float64, not clamped
 *   sigma_i  E / (E + (1/s_i - 1)) in f32, E = exp(mu) rounded to f32;  sigma_N = 0
 *
 * Bit for bit what diffusers' FlowMatchEulerDiscreteScheduler gives with dynamic shifting. One Euler step is
 * latents += (sigma_{i+1} - sigma_i) * velocity, in f32.
 * Source: diffusers scheduling_flow_match_euler_discrete.py; Esser et al. 2024; MODEL.md 1.13, 1.15.
 */
#ifndef MODELS_FLUX_FLOW_MATCH_H
#define MODELS_FLUX_FLOW_MATCH_H

#include <stdint.h>

#include "kernels/base/err.h"

enum { FLOW_MATCH_MAX_STEPS = 1000 };

/* mu for n_img image tokens. */
double flow_match_mu(int64_t n_img);

/* sigmas [n_steps + 1], the caller's. ERR_INVALID for n_steps outside 1 .. FLOW_MATCH_MAX_STEPS or n_img < 1. */
MUST_CHECK enum err_code flow_match_sigmas(int n_steps, int64_t n_img, float *sigmas, struct err *err);

/* Index of the first step that is run at `strength` (0 .. 1; 1 begins with pure noise). ERR_INVALID where no step is
 * left. */
MUST_CHECK enum err_code flow_match_start(int n_steps, double strength, int *ret, struct err *err);

#endif
