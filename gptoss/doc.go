// Package gptoss is OpenAI's GPT-OSS: its configuration, the names of its
// tensors, its architecture declared once (Declare), checkpoints as published
// or ternary (Open), and text generation (Generator).
package gptoss
