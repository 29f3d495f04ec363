// Package ops holds the dense operators of GPT-OSS as graph kernels:
// embedding, RMSNorm, linear, rotary embedding, attention with sinks, router,
// SwiGLU and mixture of experts. Nothing in it assumes a size: every count,
// width, window and constant is a field.
//
// # The seam
//
// What a projection is (bf16, MXFP4, ternary, observed, trainable) is known to
// a Linear or an ExpertLinear alone. A model is declared against these two, so the
// same declaration serves inference, calibration and training.
//
// # Letters in shapes
//
// T tokens, H hidden size, N query heads, K key-value heads, D head size,
// E experts, A active experts a token, I intermediate size, V vocabulary.
//
// Every operator computes a row from that row (and, in attention, from the
// rows of the same sequence before it) in an order of operations that does not
// depend on the batch: splitting a prompt into chunks changes no bit.
package ops
