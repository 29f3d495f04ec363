package gptoss

import (
	"fmt"

	"github.com/seed-796a8800/tritium/ternaryop"
)

// Format says how one tensor is stored: by tritium as a ternaryop.Matrix, of
// experts one after the other, in <name>.codes and <name>.scales.
type Format struct {
	Kind  string  `json:"format"`          // the name of a ternaryop.Format
	Group int     `json:"group,omitempty"` // inputs that share a scale; 0: the row
	Bits  float64 `json:"bits"`            // a weight in memory, scales and padding included
	// Coding says how <name>.codes is compressed: CodingRANS, or empty.
	Coding string `json:"coding,omitempty"`
}

// The formats of tensors that tritium wrote.
const (
	FormatTernary  = "ternary"       // 2 bits a weight
	FormatTernary5 = "ternary1.6"    // five weights in a byte
	FormatPlanes2  = "two-planes"    // the sum of two ternary weights of 2 bits, each with its scale
	FormatPlanes5  = "two-planes1.6" // the same of 1.6 bits
	FormatInt4     = "int4"
	FormatInt8     = "int8"
)

// The formats that OpenAI published; a quantization does not name them.
const (
	FormatMXFP4 = "mxfp4" // <name>_blocks, <name>_scales
	FormatBF16  = "bf16"  // <name>.weight
)

// NewFormat returns the format of a projection in groups of at most group
// inputs, as far as its size allows; group 0 is the row.
//
// Errors: those of ternaryop.Layout, a kind that tritium does not write.
func NewFormat(kind string, p Projection, group int) (Format, error) {
	packed, err := ternaryop.ParseFormat(kind)
	if err != nil {
		return Format{}, err
	}
	f := Format{Kind: kind}
	if group != 0 {
		f.Group = packed.Groups(p.In, group)
	}
	codes, scales, err := f.layout(p)
	if err != nil {
		return Format{}, err
	}
	f.Bits = 8 * float64(codes+scales) / (float64(p.Out) * float64(p.In))
	return f, nil
}

// Ternary says whether the weights are -1, 0 and +1, or sums of two such.
func (f Format) Ternary() bool {
	packed, err := ternaryop.ParseFormat(f.Kind)
	return err == nil && packed.Ternary()
}

// Planes returns how many integers a weight is stored as.
func (f Format) Planes() int {
	packed, err := ternaryop.ParseFormat(f.Kind)
	if err != nil {
		return 1
	}
	return packed.Planes()
}

// Packing returns how the weights of a projection with in inputs are packed.
// Panics where the kind is none that tritium writes.
func (f Format) Packing(in int) (packed ternaryop.Format, group int) {
	packed, err := ternaryop.ParseFormat(f.Kind)
	if err != nil {
		panic(fmt.Sprintf("gptoss: %v; ask only for what tritium packed", err))
	}
	if f.Group == 0 {
		return packed, packed.Cols(in)
	}
	return packed, f.Group
}

// layout returns the bytes of a projection's codes and scales, of experts those of one.
func (f Format) layout(p Projection) (codes, scales int, err error) {
	packed, group := f.Packing(p.In)
	return ternaryop.Layout(packed, p.Out, p.In, group)
}

// Shapes returns the shapes of a projection's tensors, those of its layout: codes [tiles, blocks, 64], scales
// [tiles, groups, 16], those of experts one after the other, with an axis of them in front.
//
// Errors: those of ternaryop.Layout.
func (f Format) Shapes(p Projection) (codes, scales []int, err error) {
	packed, group := f.Packing(p.In)
	bytes, _, err := f.layout(p)
	if err != nil {
		return nil, nil, err
	}
	tiles := (p.Out + 15) / 16
	codes, scales = []int{tiles, bytes / tiles / 64, 64}, []int{tiles, packed.Planes() * (packed.Cols(p.In) / group), 16}
	if p.Experts > 0 {
		codes, scales = append([]int{p.Experts}, codes...), append([]int{p.Experts}, scales...)
	}
	return codes, scales, nil
}

// known says whether tritium packs tensors in a format.
func known(kind string) bool {
	_, err := ternaryop.ParseFormat(kind)
	return err == nil
}
