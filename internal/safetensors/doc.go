// Package safetensors reads and writes the safetensors format, single files and sharded checkpoints.
//
// A file is an 8-byte little-endian header length, a JSON header, and the data section:
//
//	{"__metadata__": {"k": "v"}, "<tensor>": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]}, …}
//
// Offsets count from the start of the data section. Open maps the files and checks every header claim before
// it trusts it, so a Tensor's Data always lies inside its file and has exactly the bytes its shape needs.
// Tensors must cover the data section without holes or overlaps, as the format demands.
//
// # Alignment
//
// The format allows no gaps between tensors, and readers must take data at any alignment. Create nevertheless
// lays files out so that mapped tensors can be used by vector loads: it pads the header with spaces until the data
// section starts at a multiple of Options.Align, and orders the tensors of a file by the power of two that
// divides their byte size, largest (capped at Align) first, keeping the caller's order within a class. So a tensor
// whose byte size is a multiple of Align starts at a multiple of Align from the start of the file (hence of the
// mapping), and every other tensor starts at a multiple of the largest power of two dividing its byte size, which
// is at least the size of its elements.
//
// Source: https://github.com/huggingface/safetensors (README "Format", safetensors/src/tensor.rs).
package safetensors
