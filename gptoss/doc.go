// Package gptoss is OpenAI's GPT-OSS: its configuration, the names of its
// tensors, its architecture declared once (Declare), checkpoints as published
// or ternary (Open), and text generation (Generator).
//
// # One text, however it is computed
//
// A Generator's next token depends on the model, the sampling and the text so
// far: logits do not depend on how the text was cut into batches, and every
// position has a random number of its own, made of the seed. So a text can be
// rewound, forked, saved and loaded, and goes on as it would have. On the same
// grounds it can be guessed ahead (Speculation): the model reads a guess in one
// batch, and the sampler keeps what it would have chosen.
package gptoss
