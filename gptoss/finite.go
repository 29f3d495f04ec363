package gptoss

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"sync/atomic"

	"github.com/seed-796a8800/tritium/graph"
	"github.com/seed-796a8800/tritium/internal/safetensors"
)

// Work of CheckFinite: a slab is scanned by all threads between two calls of
// progress, a piece by one of them. Both are multiples of every element size.
const (
	slabBytes  = 64 << 20
	pieceBytes = 256 << 10
)

// CheckFinite reads every tensor and reports the first value that no weight
// can have: NaN or infinity among floats, the NaN of MXFP4's scales, a ternary
// code that is none of -1, 0, +1. It reads the whole model once, in order of
// tensor name but ternary codes last, and keeps nothing.
//
// progress, if not nil, is called on the calling goroutine as bytes are done.
//
// Units: done and total in bytes of tensor data.
// Errors: the file, the tensor and the element of the first bad value.
func (c *Checkpoint) CheckFinite(cpu *graph.CPU, progress func(done, total int64)) error {
	return c.checkValues(cpu, progress, func(safetensors.Tensor) error { return nil })
}

// CheckFiniteSHA256 is CheckFinite and SHA256 in one reading of the files.
//
// Errors: those of both; a model with ternary tensors, whose codes are not
// checked in the order in which they are hashed.
func (c *Checkpoint) CheckFiniteSHA256(ctx context.Context, cpu *graph.CPU, progress func(done, total int64)) (string, error) {
	if c.config.Quantization != nil {
		return "", errors.New("gptoss: the model is quantized; check and hash it one after the other")
	}
	h := sha256.New()
	err := c.checkValues(cpu, progress, func(t safetensors.Tensor) error { return c.hashTensor(ctx, h, t) })
	return hex.EncodeToString(h.Sum(nil)), err
}

// checkValues is CheckFinite, and calls also for every tensor that was checked.
func (c *Checkpoint) checkValues(cpu *graph.CPU, progress func(done, total int64), also func(safetensors.Tensor) error) error {
	tensors := c.Tensors()
	var done, total int64
	for _, t := range tensors {
		total += t.Bytes()
	}
	tick := func(n int) {
		if done += int64(n); progress != nil {
			progress(done, total)
		}
	}
	packed := map[string]Projection{} // ternary, by the name of their codes
	scales := map[string]bool{}       // of MXFP4
	for _, p := range c.config.ProjectionList() {
		if c.Format(p.Name).Ternary() {
			packed[p.Name+".codes"] = p
		} else if p.Experts > 0 {
			scales[p.Name+"_scales"] = true
		}
	}
	for _, t := range tensors {
		if _, ok := packed[t.Name]; ok {
			continue
		}
		bad := badValue(t, scales[t.Name])
		for i, data := range c.pieces(t) {
			if bad == nil { // every pattern of bits is a value
				tick(len(data))
				continue
			}
			part := t
			if part.Data = data; c.parts[t.Name] != nil {
				part.Name, part.Shape = fmt.Sprintf("%s of kept expert %d", t.Name, i), t.Shape[1:]
			}
			if err := scan(cpu, part, bad, tick); err != nil {
				return fmt.Errorf("gptoss: %s: tensor %q: %w", t.File, part.Name, err)
			}
		}
		if err := also(t); err != nil {
			return err
		}
	}
	for _, t := range tensors {
		p, ok := packed[t.Name]
		if !ok {
			continue
		}
		if err := c.checkCodes(cpu, p); err != nil {
			return fmt.Errorf("gptoss: %s: tensor %q: %w", t.File, t.Name, err)
		}
		tick(len(t.Data))
	}
	return nil
}

// checkCodes validates the packed matrices of a projection.
func (c *Checkpoint) checkCodes(cpu *graph.CPU, p Projection) error {
	s := c.packed(p.Name)
	errs := make([]error, s.E)
	cpu.Parallel(s.E, func(_, e int) {
		m := s.At(e)
		errs[e] = m.Validate()
	})
	for e, err := range errs {
		if err != nil && p.Experts > 0 {
			return fmt.Errorf("expert %d: %w", e, err)
		} else if err != nil {
			return err
		}
	}
	return nil
}

// badValue returns a function that finds the first bad element of some data of
// the tensor's type, -1 where there is none; nil where no element can be bad.
func badValue(t safetensors.Tensor, mxfp4Scales bool) func(data []byte) int {
	switch {
	case t.Dtype == safetensors.BF16:
		return func(data []byte) int { return badExponent16(data, 0x7F80) }
	case t.Dtype == safetensors.F16:
		return func(data []byte) int { return badExponent16(data, 0x7C00) }
	case t.Dtype == safetensors.F32:
		return func(data []byte) int {
			for i := 0; i < len(data); i += 4 {
				if binary.LittleEndian.Uint32(data[i:])&0x7F800000 == 0x7F800000 {
					return i / 4
				}
			}
			return -1
		}
	case t.Dtype == safetensors.F64:
		return func(data []byte) int {
			for i := 0; i < len(data); i += 8 {
				if binary.LittleEndian.Uint64(data[i:])&0x7FF<<52 == 0x7FF<<52 {
					return i / 8
				}
			}
			return -1
		}
	case mxfp4Scales:
		return func(data []byte) int { return bytes.IndexByte(data, 255) }
	}
	return nil
}

func badExponent16(data []byte, ones uint16) int {
	for i := 0; i < len(data); i += 2 {
		if binary.LittleEndian.Uint16(data[i:])&ones == ones {
			return i / 2
		}
	}
	return -1
}

// scan looks for the first bad element of a tensor, slab by slab.
func scan(cpu *graph.CPU, t safetensors.Tensor, bad func([]byte) int, tick func(bytes int)) error {
	size := t.Dtype.Size()
	var first atomic.Int64
	first.Store(math.MaxInt64)
	for at := 0; at < len(t.Data); at += slabBytes {
		slab := t.Data[at:min(at+slabBytes, len(t.Data))]
		cpu.Parallel((len(slab)+pieceBytes-1)/pieceBytes, func(_, i int) {
			lo := i * pieceBytes
			n := bad(slab[lo:min(lo+pieceBytes, len(slab))])
			if n < 0 {
				return
			}
			found := int64((at+lo)/size + n)
			for old := first.Load(); found < old && !first.CompareAndSwap(old, found); old = first.Load() {
			}
		})
		if n := first.Load(); n < math.MaxInt64 {
			return fmt.Errorf("element %v is %s; the data is damaged", coordinates(int(n), t.Shape), valueAt(t, int(n)))
		}
		tick(len(slab))
	}
	return nil
}

func valueAt(t safetensors.Tensor, i int) string {
	var v [1]float32
	if t.DecodeFloat32(v[:], i) != nil {
		return "255, MXFP4's NaN"
	}
	return fmt.Sprint(v[0])
}

// coordinates are the indices of the i-th element of a row-major tensor.
func coordinates(i int, shape []int) []int {
	at := make([]int, len(shape))
	for d := len(shape) - 1; d >= 0; d-- {
		at[d], i = i%shape[d], i/shape[d]
	}
	return at
}
