package main

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/seed-796a8800/tritium/gptoss"
	"github.com/seed-796a8800/tritium/quantize"
	"github.com/spf13/cobra"
)

// inspection is what `inspect --json` prints.
type inspection struct {
	Model         string               `json:"model"`
	Config        json.RawMessage      `json:"config"` // config.json
	Quantization  *gptoss.Quantization `json:"quantization"`
	Parameters    int64                `json:"parameters"`
	Active        int64                `json:"active_parameters"`
	Bytes         int64                `json:"bytes"`
	Memory        int64                `json:"memory_bytes"` // once open; more than bytes if compressed
	BitsPerWeight float64              `json:"bits_per_weight"`
	Kinds         []kindUsage          `json:"kinds"`
	Tensors       []inspectedTensor    `json:"tensors"`
	Forecast      []recipeForecast     `json:"forecast"`
}

type inspectedTensor struct {
	Name   string `json:"name"`
	Kind   string `json:"kind"`
	Dtype  string `json:"dtype"`
	Shape  []int  `json:"shape"`
	Bytes  int64  `json:"bytes"`
	Memory int64  `json:"memory_bytes"`
	Format string `json:"format"`
}

// recipeForecast is the size that a recipe would give.
type recipeForecast struct {
	Recipe        string  `json:"recipe"`
	Flags         string  `json:"flags"` // of tritium quantize
	Bytes         int64   `json:"bytes"`
	BitsPerWeight float64 `json:"bits_per_weight"`
	Refused       string  `json:"refused,omitempty"` // why it cannot be
}

// recipes are the ones worth knowing: the default, then what int8 attention
// costs and what smaller tables save.
var recipes = []struct {
	name, flags string
	options     quantize.Options
}{
	{"ternary, tables bf16", "(the default)", quantize.Options{}},
	{"ternary, tables int8", "--embedding int8 --head int8",
		quantize.Options{Embedding: quantize.StoreInt8, Head: quantize.StoreInt8}},
	{"ternary, tables int4", "--embedding int4 --head int4",
		quantize.Options{Embedding: quantize.StoreInt4, Head: quantize.StoreInt4}},
	{"ternary at 1.6 bits, tables int4", "--bits 1.6 --embedding int4 --head int4",
		quantize.Options{Bits: 1.6, Embedding: quantize.StoreInt4, Head: quantize.StoreInt4}},
	{"attention int8, tables bf16", "--attention int8",
		quantize.Options{Attention: quantize.StoreInt8}},
	{"attention int8, tables int8", "--attention int8 --embedding int8 --head int8",
		quantize.Options{Attention: quantize.StoreInt8, Embedding: quantize.StoreInt8, Head: quantize.StoreInt8}},
	{"attention int8, tables int4", "--attention int8 --embedding int4 --head int4",
		quantize.Options{Attention: quantize.StoreInt8, Embedding: quantize.StoreInt4, Head: quantize.StoreInt4}},
	{"experts two planes, attention and tables int8", "--experts two-planes --attention int8 --embedding int8 --head int8",
		quantize.Options{Experts: quantize.StorePlanes, Attention: quantize.StoreInt8, Embedding: quantize.StoreInt8, Head: quantize.StoreInt8}},
	{"experts two planes at 1.6 bits, attention int8, tables int4", "--experts two-planes --bits 1.6 --attention int8 --embedding int4 --head int4",
		quantize.Options{Bits: 1.6, Experts: quantize.StorePlanes, Attention: quantize.StoreInt8, Embedding: quantize.StoreInt4, Head: quantize.StoreInt4}},
	{"ternary in groups of 64, tables int8", "--group 64 --embedding int8 --head int8",
		quantize.Options{Group: 64, Embedding: quantize.StoreInt8, Head: quantize.StoreInt8}},
}

func newInspect(a *app) *cobra.Command {
	var tensors bool
	cmd := &cobra.Command{
		Use:   "inspect MODEL",
		Short: "Configuration, sizes by kind of tensor, and what quantizing would give",
		Long: `Inspect says what a model consists of: its configuration, parameters, bytes and
bits per weight by kind of tensor, what may become ternary, and how large the
model would be under each recipe of 'tritium quantize'.

It needs no weights: a directory may hold config.json and
model.safetensors.index.json alone, and of a repository that was not pulled only
the configuration and the headers of the weights are fetched.`,
		Example: "  tritium inspect nano\n  tritium inspect ./gpt-oss-20b --tensors\n  tritium inspect openai/gpt-oss-120b",
		Args:    wantArgs("MODEL"),
		RunE: func(cmd *cobra.Command, args []string) error {
			c, config, err := a.look(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			in := inspect(args[0], c, config)
			if a.json {
				err = a.printJSON(in)
			} else {
				err = in.print(a, c.Config(), tensors)
			}
			return errors.Join(err, c.Close())
		},
	}
	cmd.Flags().BoolVar(&tensors, "tensors", false, "list every tensor")
	return cmd
}

func inspect(name string, c *gptoss.Checkpoint, config []byte) *inspection {
	in := &inspection{Model: name, Config: config, Quantization: c.Config().Quantization, Kinds: inventory(c)}
	sum := total(in.Kinds)
	in.Parameters, in.Active, in.Bytes, in.Memory, in.BitsPerWeight = sum.Parameters, sum.Active, sum.Bytes, sum.Memory, sum.Bits
	for _, t := range c.Tensors() {
		in.Tensors = append(in.Tensors, inspectedTensor{t.Name, kindOf(t.Name), string(t.Dtype), t.Shape,
			c.StoredBytes(t.Name), c.ExpandedBytes(t.Name), storage(c, t.Name, string(t.Dtype))})
	}
	for _, r := range recipes {
		f, err := quantize.NewForecast(c.Config(), r.options, 0)
		out := recipeForecast{Recipe: r.name, Flags: r.flags, Bytes: f.Bytes, BitsPerWeight: f.BitsPerWeight}
		if err != nil {
			out.Refused = err.Error()
		}
		in.Forecast = append(in.Forecast, out)
	}
	return in
}

func (in *inspection) print(a *app, c gptoss.Config, tensors bool) error {
	fmt.Fprintf(a.out, "%s: GPT-OSS of %s parameters, %s of them active for a token, %s\n", in.Model,
		count(in.Parameters), count(in.Active), bytesText(in.Bytes))
	fmt.Fprintf(a.out, "%d layers, hidden size %s, %d query and %d key-value heads of %d\n",
		c.Layers, count(c.Hidden), c.Heads, c.KVHeads, c.HeadDim)
	fmt.Fprintf(a.out, "%d experts of which %d are active, intermediate size %s\n", c.Experts, c.ActiveExperts, count(c.Intermediate))
	fmt.Fprintf(a.out, "vocabulary %s, context %s, %s\n", count(c.Vocab), count(c.MaxPositions), windows(c))
	if q := in.Quantization; q != nil {
		fmt.Fprintf(a.out, "quantized by tritium: %s, groups of at most %d, int%d activations\n", q.Method, q.GroupSize, q.ActivationBits)
	}
	if in.Memory != in.Bytes {
		fmt.Fprintf(a.out, "compressed on disk: %s in memory\n", bytesText(in.Memory))
	}
	fmt.Fprintln(a.out)

	var t table
	may := func(s string) string {
		if in.Quantization != nil {
			return "" // nothing: it is quantized already
		}
		return s
	}
	t.row("kind", "parameters", "share", "bytes", "bits/weight", "stored as", may("may become"))
	for _, u := range append(in.Kinds, total(in.Kinds)) {
		t.row(u.Kind, count(u.Parameters), fmt.Sprintf("%.1f %%", 100*float64(u.Parameters)/float64(in.Parameters)),
			bytesText(u.Bytes), fmt.Sprintf("%.2f", u.Bits), u.Format, may(u.May))
	}
	if err := t.write(a.out, 5, 6); err != nil {
		return err
	}
	if tensors {
		if err := in.printTensors(a); err != nil {
			return err
		}
	}
	if in.Quantization != nil {
		return nil // no recipe starts from here
	}
	return in.printForecast(a)
}

func (in *inspection) printTensors(a *app) error {
	fmt.Fprintln(a.out)
	var t table
	t.row("tensor", "type", "shape", "bytes", "stored as")
	for _, x := range in.Tensors {
		t.row(x.Name, x.Dtype, fmt.Sprint(x.Shape), bytesText(x.Bytes), x.Format)
	}
	return t.write(a.out, 1, 2, 4)
}

func (in *inspection) printForecast(a *app) error {
	fmt.Fprintln(a.out)
	var t table
	t.row("quantized", "bytes", "bits/weight", "of this", "flags of tritium quantize")
	for _, f := range in.Forecast {
		if f.Refused != "" {
			t.row(f.Recipe, "-", "-", "-", f.Refused)
			continue
		}
		t.row(f.Recipe, bytesText(f.Bytes), fmt.Sprintf("%.2f", f.BitsPerWeight),
			fmt.Sprintf("%.0f %%", 100*float64(f.Bytes)/float64(in.Bytes)), f.Flags)
	}
	return t.write(a.out, 4)
}

// windows describes the layers' attention windows.
func windows(c gptoss.Config) string {
	sliding, size := 0, 0
	for _, w := range c.Windows {
		if w > 0 {
			sliding, size = sliding+1, w
		}
	}
	if sliding == 0 {
		return "full attention in every layer"
	}
	return fmt.Sprintf("windows of %d tokens in %d of %d layers", size, sliding, c.Layers)
}
