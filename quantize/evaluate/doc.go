// Package evaluate measures what quantization cost: a reference model and any
// number of candidates read the same text side by side, and what differs -
// loss, next-token distributions, most likely tokens, chosen experts - becomes
// a Report. RunTasks asks a model questions that have one right answer.
//
// Nothing here knows how a model was quantized; it sees a configuration and
// weights.
package evaluate
